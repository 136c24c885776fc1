"""Measurements of ``tools/benchmark.py``: ratios with intervals, and exact counts."""

from benchmarks.data import benchmark_data
from benchmarks.distill import benchmark_distill
from benchmarks.engine import benchmark_engine
from benchmarks.figures import Figure, to_rows
from benchmarks.models import benchmark_models, describe_winners

__all__ = [
    "Figure",
    "benchmark_data",
    "benchmark_distill",
    "benchmark_engine",
    "benchmark_models",
    "describe_winners",
    "to_rows",
]
