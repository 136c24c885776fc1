"""Benchmark of the engine: trainer overhead per step, checkpoint cost, start-up time."""

import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.engine_checkpoint import benchmark_checkpoints
from benchmarks.engine_step import benchmark_step
from benchmarks.figures import Figure

_TOOL = Path(__file__).parents[1] / "train_net.py"


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


def benchmark_start(*, num_rounds: int) -> list[Figure]:
    """Time `import videokd` beyond `import torch`, and `tools/train_net.py --help`, on the CPU.

    Each runs in a new process, in turn. A value is the CPU time of the process, user and system.
    The help does not import torch, so its time is measured beyond that of bare Python.

    Args:
        num_rounds: Measurements of each.
    """
    commands = {
        "bare": ["-c", ""],
        "torch": ["-c", "import torch"],
        "both": ["-c", "import torch, videokd"],
        "help": [str(_TOOL), "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for i in range(num_rounds):
        for name in list(commands)[:: 1 if i % 2 == 0 else -1]:
            times[name].append(_cpu_seconds(commands[name]))

    def beyond(name: str, reference: str) -> list[float]:
        return [a - b for a, b in zip(times[name], times[reference], strict=True)]

    return [
        Figure.of_samples("engine/start/import", beyond("both", "torch"), "s", must=0.2),
        Figure.of_samples("engine/start/help", beyond("help", "bare"), "s", must=0.3),
    ]


def _cpu_seconds(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
