"""Interleaved timing of alternatives, so that disturbances of the machine affect all of them."""

import time
from collections.abc import Callable, Mapping, Sequence

import torch

_NUM_WARMUPS = 3  # the first steps choose kernels, check bf16 and create the optimizer state


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
