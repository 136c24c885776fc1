import math

import pytest
import torch
from torch.optim import lr_scheduler

from videokd.engine.schedule import LR_POLICIES, Schedule

NUM_STEPS = 40


def rates(schedule, *, num_steps=NUM_STEPS, base_lr=0.3, warmup_steps=0.0):
    return [
        schedule.lr_of_step(step, num_steps=num_steps, base_lr=base_lr, warmup_steps=warmup_steps)
        for step in range(num_steps)
    ]


def torch_rates(make_scheduler, *, num_steps=NUM_STEPS, base_lr=0.3):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base_lr)
    scheduler = make_scheduler(optimizer)
    found = []
    for _ in range(num_steps):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, 0.0),
        (0.1, 1.0),
        (0.2, 2.0),
        (0.4, 1.7071068),
        (0.6, 1.0),
        (0.8, 0.2928932),
        (1.0, 0.0),
    ],
)
def test_the_rate_rises_linearly_and_falls_as_half_a_cosine(progress, expected):
    assert Schedule().lr_at(progress, base_lr=2.0, warmup=0.2) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("policy", "options", "expected"),
    [
        # 10 steps, 2 of them warm-up: they have the rates of their ends.
        ("constant", {}, [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
        (
            *("step", {"milestones": (0.4, 0.8)}),
            [1.0, 2.0, 2.0, 2.0, 0.2, 0.2, 0.2, 0.2, 0.02, 0.02],
        ),
        (
            *("step", {"milestones": (0.7,), "gamma": 0.5}),
            [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0],
        ),
        # One milestone lies in the warm-up: that rises to what is left after it.
        (
            *("step", {"milestones": (0.1, 0.5), "gamma": 0.5}),
            [0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5],
        ),
    ],
)
def test_the_rates_of_all_steps(policy, options, expected):
    found = rates(Schedule(policy, **options), num_steps=10, base_lr=2.0, warmup_steps=2)
    assert found == pytest.approx(expected, rel=1e-12)


def test_one_cycle_starts_peaks_and_ends_where_it_says():
    schedule = Schedule("one_cycle")
    found = [
        schedule.lr_at(progress, base_lr=2.0, warmup=0.4) for progress in (0, 0.2, 0.4, 0.7, 1)
    ]
    low, end = 2 / 25, 2 / 250_000
    assert found == pytest.approx([low, (low + 2) / 2, 2.0, (2 + end) / 2, end], rel=1e-12)


def test_cosine_is_that_of_torch():
    reference = torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=NUM_STEPS))
    assert rates(Schedule()) == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize("milestones", [(10,), (12, 30)])
def test_step_is_that_of_torch(milestones):
    schedule = Schedule("step", tuple(m / NUM_STEPS for m in milestones), 0.2)
    reference = torch_rates(lambda o: lr_scheduler.MultiStepLR(o, milestones, gamma=0.2))
    assert rates(schedule) == pytest.approx(reference, rel=1e-12)


def test_linear_warm_up_is_that_of_torch():
    # Torch's starts at its start_factor: at the end of our first step.
    reference = torch_rates(lambda o: lr_scheduler.LinearLR(o, start_factor=1 / 10, total_iters=9))
    assert rates(Schedule("constant"), warmup_steps=10) == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("pct_start", [0.1, 0.3, 0.75])
def test_one_cycle_is_that_of_torch(pct_start):
    # Torch's first step is its progress 0, its last one 1, and the peak lies at this step:
    peak = pct_start * NUM_STEPS - 1
    reference = torch_rates(
        lambda o: lr_scheduler.OneCycleLR(
            o, max_lr=0.3, total_steps=NUM_STEPS, pct_start=pct_start, cycle_momentum=False
        )
    )
    last, schedule = NUM_STEPS - 1, Schedule("one_cycle")
    found = [
        schedule.lr_at(step / last, base_lr=0.3, warmup=peak / last) for step in range(NUM_STEPS)
    ]
    assert found == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize("policy", LR_POLICIES)
@pytest.mark.parametrize("warmup_steps", [0.0, 0.5, 3.0, 48.5, 1e6])
def test_the_rate_is_above_zero_and_at_most_its_peak_which_a_step_has(policy, warmup_steps):
    schedule = Schedule(policy, (0.6,) if policy == "step" else ())
    found = rates(schedule, num_steps=97, base_lr=0.3, warmup_steps=warmup_steps)
    assert 0 < min(found) <= max(found) <= 0.3
    # A warm-up of half the steps is the longest, and its last step has the peak.
    assert max(found) == pytest.approx(0.3, rel=1e-3)


def test_a_training_of_one_step_has_a_rate():
    for policy in ("cosine", "one_cycle", "constant"):
        for warmup_steps in (0.0, 1.0):
            (rate,) = rates(Schedule(policy), num_steps=1, warmup_steps=warmup_steps)
            assert math.isclose(rate, 0.3)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="one of cosine, step, one_cycle, constant, got 'poly'"):
        Schedule("poly")


@pytest.mark.parametrize(
    ("policy", "milestones", "message"),
    [
        ("step", (), "milestones are for the policy step"),
        ("cosine", (0.5,), "milestones are for the policy step"),
        ("step", (0.0, 0.5), "must be rising shares"),
        ("step", (0.5, 1.0), "must be rising shares"),
        ("step", (0.5, 0.5), "must be rising shares"),
        ("step", (0.6, 0.5), "must be rising shares"),
        ("step", (float("nan"),), "must be rising shares"),
    ],
)
def test_milestones_that_make_no_sense_are_refused(policy, milestones, message):
    with pytest.raises(ValueError, match=message):
        Schedule(policy, milestones)
