"""Interleaved timing of alternatives, and the measured numbers with interval and requirement."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

_NUM_WARMUPS = 3  # the first steps choose kernels, check bf16 and create the optimizer state
_CPU_INFO = Path("/proc/cpuinfo")
_COVERAGE = 0.95


@dataclass(frozen=True)
class Figure:
    """One number of a benchmark."""

    name: str
    """Parts from general to specific, joined by "/"."""
    value: float
    low: float
    """Lower end of the interval; ``low`` and ``high`` equal ``value`` for a count."""
    high: float
    unit: str
    better: str = "lower"
    """"lower" or "higher"."""
    must: float | None = None
    """Required bound of the value; None without a requirement."""
    goal: float | None = None

    @classmethod
    def of_count(cls, name: str, value: float, unit: str, **options: Any) -> "Figure":
        """Build the figure of an exact number."""
        return cls(name, value, value, value, unit, **options)

    @classmethod
    def of_samples(cls, name: str, samples: Sequence[float], unit: str, **options: Any) -> "Figure":
        """Build the figure of repeated measurements: their median with its interval."""
        return cls(name, statistics.median(samples), *median_interval(samples), unit, **options)


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """Return the narrowest pair of order statistics that contains the median with 95 %.

    P(x_(k+1) <= median <= x_(n-k)) = 1 - 2 P(Binomial(n, 1/2) <= k) for every distribution. Fewer
    than 6 samples do not reach 95 %: their smallest and largest are returned.

    Args:
        samples: At least one.
    """
    ordered, num = sorted(samples), len(samples)
    k, tail = 0, 2.0**-num
    while 2 * (tail + math.comb(num, k + 1) * 2.0**-num) <= 1 - _COVERAGE:
        k += 1
        tail += math.comb(num, k) * 2.0**-num
    return ordered[k], ordered[num - 1 - k]


def to_rows(figures: Iterable[Figure], hardware: str) -> list[dict[str, Any]]:
    """Return figures as plain JSON values, each with the name of the hardware."""
    return [{**asdict(figure), "hardware": hardware} for figure in figures]


def describe_hardware(device: torch.device) -> str:
    """Return the name of the GPU or CPU, with torch's version."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'CPU'}, one thread, torch {torch.__version__}"


def time_interleaved(
    works: Mapping[str, Callable[[], object]], *, device: torch.device, num_rounds: int
) -> dict[str, list[float]]:
    """Run every work once per round; return name -> milliseconds of each round.

    The order is reversed in every other round. On a CPU the time is this process's CPU time, which
    other processes affect little. On a GPU it is wall time with the device's work included.

    Args:
        works: Name -> function to time.
        device: Device that the functions use.
        num_rounds: Measurements of each.
    """
    for work in works.values():
        for _ in range(_NUM_WARMUPS):
            work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for i in range(num_rounds):
        for name in list(works)[:: 1 if i % 2 == 0 else -1]:
            times[name].append(_time_ms(works[name], device))
    return times


def paired_ratios(times: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Return times divided by the reference, round by round."""
    return [a / b for a, b in zip(times, reference, strict=True)]


def _time_ms(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        work()
        return 1e3 * (time.process_time() - start)
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start)
