"""Timing of alternatives side by side, so that what disturbs the machine disturbs them all."""

import time
from collections.abc import Callable, Mapping, Sequence

import torch

_NUM_WARMUPS = 3  # the first steps pick kernels, check bf16, and make the optimizer's state


def time_interleaved(
    works: Mapping[str, Callable[[], object]], *, device: torch.device, num_rounds: int
) -> dict[str, list[float]]:
    """Run every work once per round, and return name -> milliseconds of each round.

    The order is turned around from round to round. On a CPU it is this process's CPU time, which
    other processes do not lengthen much; on a GPU it is wall time, the device's work included.

    Args:
        works: What to time.
        device: Where it runs.
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
    """Return times over reference, round by round."""
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
