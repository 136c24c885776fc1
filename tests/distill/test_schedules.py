import math

import pytest

from videokd.distill.schedules import schedule_factor


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # Half cosines: at a quarter of the way (1 - cos(pi / 4)) / 2.
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        ("rising", [0.0, (1 - math.sqrt(0.5)) / 2, 0.5, 1.0]),
        ("falling", [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, 0.0]),
    ],
)
def test_factors_follow_half_cosines(schedule, expected):
    factors = [schedule_factor(schedule, progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert factors == pytest.approx(expected)


@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_an_unknown_schedule_is_refused_from_the_first_step(progress):
    with pytest.raises(ValueError, match="constant, rising, falling, late_fall, got 'cosine'"):
        schedule_factor("cosine", progress)


def test_a_late_fall_is_one_for_two_thirds_and_then_half_a_cosine():
    factors = [schedule_factor("late_fall", p) for p in (0.0, 0.5, 2 / 3, 5 / 6, 1.0)]
    assert factors == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.0])
