"""Benchmark of the engine: trainer overhead per step, checkpoint cost, start-up time."""

from pathlib import Path

from benchmarks.engine_checkpoint import benchmark_checkpoints
from benchmarks.engine_start import benchmark_start
from benchmarks.engine_step import benchmark_step
from benchmarks.figures import Figure


def benchmark_engine(folder: Path, *, num_rounds: int) -> list[Figure]:
    """Measure the engine on the CPU.

    Args:
        folder: Output folder of the trainings.
        num_rounds: Measurements of each side.
    """
    return [
        *benchmark_step(folder / "step", num_rounds=num_rounds),
        *benchmark_checkpoints(folder, num_rounds=num_rounds),
        *benchmark_start(num_rounds=num_rounds),
    ]
