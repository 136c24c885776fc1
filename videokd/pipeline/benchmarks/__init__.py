"""Measurements of ``tools/benchmark.py``: ratios with intervals, and exact counts."""

from videokd.pipeline.benchmarks.data import benchmark_data
from videokd.pipeline.benchmarks.distill import benchmark_distill
from videokd.pipeline.benchmarks.engine import benchmark_engine
from videokd.pipeline.benchmarks.figures import Figure, to_rows
from videokd.pipeline.benchmarks.models import benchmark_models, describe_winners

__all__ = [
    "Figure",
    "benchmark_data",
    "benchmark_distill",
    "benchmark_engine",
    "benchmark_models",
    "describe_winners",
    "to_rows",
]
