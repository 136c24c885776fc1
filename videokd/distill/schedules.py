"""Schedules of a level's weight: pure functions of the training's progress."""

import math


def level_factor(schedule: str, progress: float) -> float:
    """Return the factor of a level's weight.

    Args:
        schedule: "constant" is 1; "rising" goes from 0 to 1 and "falling" from 1 to 0 along half a
            cosine.
        progress: Share of the training that is done, in [0, 1].

    Raises:
        ValueError: Unknown schedule.
    """
    if schedule == "constant":
        return 1.0
    rising = 0.5 * (1 - math.cos(math.pi * progress))
    if schedule == "rising":
        return rising
    if schedule == "falling":
        return 1 - rising
    raise ValueError(f"schedule must be constant, rising or falling, got {schedule!r}")
