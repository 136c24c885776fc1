from collections import Counter

import pytest
from torch.utils.data import DataLoader

from videokd.data.mixing import BatchPlan, PlanSampler
from videokd.utils.errors import InputError


def pairs(plan: BatchPlan, steps: range) -> list[tuple[int, int]]:
    return [(r.dataset_id, r.record_id) for step in steps for r in plan.batch(step)]


def test_a_proportional_epoch_is_a_permutation_of_all_records():
    plan = BatchPlan([7, 3, 2], batch_size=4, seed=0)
    assert plan.num_steps_per_epoch == 3
    expected = sorted([(0, r) for r in range(7)] + [(1, r) for r in range(3)] + [(2, 0), (2, 1)])
    for epoch in range(3):
        drawn = pairs(plan, range(3 * epoch, 3 * epoch + 3))
        assert sorted(drawn) == expected
        assert drawn != expected


def test_incomplete_batches_are_dropped():
    plan = BatchPlan([11], batch_size=4, seed=0)
    assert plan.num_steps_per_epoch == 2
    assert max(Counter(pairs(plan, range(2))).values()) == 1


@pytest.mark.parametrize("mix", ["proportional", "balanced"])
def test_requests_carry_epoch_and_position(mix):
    plan = BatchPlan([5, 4], batch_size=4, seed=0, mix=mix)
    assert [(r.epoch, r.position) for r in plan.batch(3)] == [(1, p) for p in (4, 5, 6, 7)]


@pytest.mark.parametrize("mix", ["proportional", "balanced"])
def test_a_batch_depends_on_seed_and_step_alone(mix):
    forward = BatchPlan([9, 5], batch_size=4, seed=3, mix=mix)
    backward = BatchPlan([9, 5], batch_size=4, seed=3, mix=mix)
    expected = [forward.batch(step) for step in range(12)]
    assert [backward.batch(step) for step in reversed(range(12))][::-1] == expected
    other = BatchPlan([9, 5], batch_size=4, seed=4, mix=mix)
    assert [other.batch(step) for step in range(12)] != expected


def test_balanced_batches_hold_equal_shares():
    plan = BatchPlan([50, 5, 7], batch_size=6, seed=0, mix="balanced")
    assert plan.num_steps_per_epoch == 10
    for step in range(25):
        assert Counter(r.dataset_id for r in plan.batch(step)) == {0: 2, 1: 2, 2: 2}


def test_the_remainder_of_a_balanced_batch_rotates():
    plan = BatchPlan([50, 50, 50], batch_size=5, seed=0, mix="balanced")
    counts = [Counter(r.dataset_id for r in plan.batch(step)) for step in range(30)]
    assert all(sorted(c.values()) == [1, 2, 2] for c in counts)
    assert sum(counts, Counter()) == {0: 50, 1: 50, 2: 50}
    assert [c[0] for c in counts[:3]] == [2, 2, 1]


def test_a_batch_smaller_than_the_number_of_datasets_visits_them_in_turn():
    plan = BatchPlan([5, 5, 5], batch_size=2, seed=0, mix="balanced")
    assert [[r.dataset_id for r in plan.batch(step)] for step in range(3)] == [
        [0, 1],
        [0, 2],
        [1, 2],
    ]


def test_a_small_dataset_is_used_up_and_shuffled_anew():
    plan = BatchPlan([100, 4], batch_size=4, seed=0, mix="balanced")
    drawn = [r for d, r in pairs(plan, range(20)) if d == 1]
    laps = [drawn[i : i + 4] for i in range(0, 40, 4)]
    assert all(sorted(lap) == [0, 1, 2, 3] for lap in laps)
    assert len({tuple(lap) for lap in laps}) > 3


def test_a_loader_can_start_anywhere():
    plan = BatchPlan([9], batch_size=2, seed=0)
    sampler = PlanSampler(plan, start_step=3, num_steps=4)
    assert len(sampler) == 4
    assert list(sampler) == [plan.batch(step) for step in range(3, 7)]


class _Echo:
    def __getitem__(self, request):
        return request


def test_a_torch_loader_asks_for_the_requests_of_the_plan():
    plan = BatchPlan([9], batch_size=2, seed=0)
    loader = DataLoader(_Echo(), batch_sampler=PlanSampler(plan, 0, 2), collate_fn=list)
    assert list(loader) == [plan.batch(0), plan.batch(1)]


@pytest.mark.parametrize(
    ("sizes", "batch_size", "mix", "message"),
    [
        ([], 2, "balanced", r"must all be > 0, got \[\]"),
        ([3, 0], 2, "balanced", r"must all be > 0, got \[3, 0\]"),
        ([3], 0, "balanced", r"batch_size must be 1 \.\. 3 .*, got 0"),
        ([3], 4, "balanced", r"batch_size must be 1 \.\. 3 .*, got 4"),
        ([3], 2, "fair", "mix must be one of proportional, balanced, got 'fair'"),
    ],
)
def test_wrong_plans_are_input_errors(sizes, batch_size, mix, message):
    with pytest.raises(InputError, match=message):
        BatchPlan(sizes, batch_size=batch_size, seed=0, mix=mix)
