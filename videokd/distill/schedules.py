"""Schedules of the losses' weights: pure functions of the training's progress."""

import math

SCHEDULES = ("constant", "rising", "falling", "late_fall")
_LATE = 2 / 3  # progress at which late_fall begins to fall


def schedule_factor(schedule: str, progress: float) -> float:
    """Return the factor of a weight.

    Args:
        schedule: "constant" is 1; "rising" goes from 0 to 1 and "falling" from 1 to 0 along half a
            cosine; "late_fall" is 1 for two thirds of the training and falls to 0 in the last.
        progress: Share of the training that is done, in [0, 1].

    Raises:
        ValueError: Unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if schedule == "constant":
        return 1.0
    if schedule == "late_fall":
        progress = max(0.0, (progress - _LATE) / (1 - _LATE))
    rising = 0.5 * (1 - math.cos(math.pi * progress))
    return rising if schedule == "rising" else 1 - rising
