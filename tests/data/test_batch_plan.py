from collections import Counter
from itertools import groupby

import pytest
from torch.utils.data import DataLoader

from videokd.data.batch_plan import MIXES, BatchPlan, PlanSampler
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


def test_what_an_epoch_has_no_room_for_comes_first_in_the_next():
    plan = BatchPlan([11], batch_size=4, seed=0)
    assert plan.num_steps_per_epoch == 2
    records = [record for _, record in pairs(plan, range(11))]
    for first in range(0, 44, 11):
        assert sorted(records[first : first + 11]) == list(range(11))


def test_datasets_are_interleaved_by_hand():
    # Points 1/8, 3/8, 5/8, 7/8 of the one; 1/4, 3/4 and 1/2 of the others.
    plan = BatchPlan([4, 2, 1], batch_size=7, seed=0)
    for step in range(3):
        assert [r.dataset_id for r in plan.batch(step)] == [0, 1, 0, 2, 0, 1, 0]


@pytest.mark.parametrize("sizes", [(90, 25, 7), (239_975, 9_537, 3_570)])
def test_every_stretch_of_a_proportional_run_has_the_shares_of_the_datasets(sizes):
    plan = BatchPlan(sizes, batch_size=61, seed=0)
    for step in (0, 1, 1000, 10**6):
        counts = Counter(r.dataset_id for r in plan.batch(step))
        for dataset_id, size in enumerate(sizes):
            assert abs(counts[dataset_id] - 61 * size / sum(sizes)) < 2


@pytest.mark.parametrize("mix", MIXES)
def test_requests_carry_epoch_and_position(mix):
    plan = BatchPlan([5, 4], batch_size=4, seed=0, mix=mix)
    assert [(r.epoch, r.position) for r in plan.batch(3)] == [(1, p) for p in (4, 5, 6, 7)]


@pytest.mark.parametrize("mix", MIXES)
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
        [2, 0],
        [1, 2],
    ]


def test_a_small_dataset_is_used_up_and_shuffled_anew():
    plan = BatchPlan([100, 4], batch_size=4, seed=0, mix="balanced")
    drawn = [r for d, r in pairs(plan, range(20)) if d == 1]
    laps = [drawn[i : i + 4] for i in range(0, 40, 4)]
    assert all(sorted(lap) == [0, 1, 2, 3] for lap in laps)
    assert len({tuple(lap) for lap in laps}) > 3


def make_plan(mix, sizes=(90, 25, 7), **options):
    temperature = 2.0 if mix == "temperature" else 1.0
    return BatchPlan(sizes, batch_size=12, seed=3, mix=mix, temperature=temperature, **options)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_the_parts_of_the_ranks_are_the_batch(mix, repeats, num_ranks):
    plan = make_plan(mix, repeats=repeats)
    for step in (0, 5, 1234):
        parts = [plan.batch(step, rank, num_ranks) for rank in range(num_ranks)]
        assert len({len(part) for part in parts}) == 1
        assert [request for part in parts for request in part] == plan.batch(step)


def test_each_rank_is_given_its_share_of_each_dataset_of_a_balanced_batch():
    for step in (0, 5, 1234):
        for rank in range(4):
            ids = [request.dataset_id for request in make_plan("balanced").batch(step, rank, 4)]
            assert max(map(ids.count, range(3))) - min(map(ids.count, range(3))) <= 1


@pytest.mark.parametrize(("rank", "num_ranks"), [(0, 5), (2, 2), (-1, 2)])
def test_ranks_without_an_equal_part_are_refused(rank, num_ranks):
    with pytest.raises(InputError, match=rf"rank {rank} of {num_ranks} has no equal part .* of 12"):
        make_plan("balanced").batch(0, rank, num_ranks)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("repeats", [1, 4])
def test_a_dataset_is_used_up_before_it_is_shuffled_anew(mix, repeats):
    sizes = (90, 25, 7)
    plan = make_plan(mix, sizes, repeats=repeats)
    drawn = pairs(plan, range(400))
    for dataset_id, size in enumerate(sizes):
        records = [r for d, r in drawn if d == dataset_id]
        laps = [records[i : i + size] for i in range(0, len(records), size)]
        assert all(sorted(lap) == list(range(size)) for lap in laps[:-1])
        assert len(set(laps[-1])) == len(laps[-1])


def test_a_step_far_away_is_found_at_once():
    sizes, step = (90, 25, 7), 10**12
    # Twelve clips are from one round of 122, which repeats every 61 steps.
    plan, step = make_plan("proportional", sizes), step - step % 61
    drawn = pairs(plan, range(step, step + 61))
    for dataset_id, size in enumerate(sizes):
        counts = Counter(r for d, r in drawn if d == dataset_id)
        assert counts == dict.fromkeys(range(size), 6)


@pytest.mark.parametrize(
    ("temperature", "shares"),
    [
        (1.0, [0.64, 0.32, 0.04]),
        (2.0, [8 / 15.65685, 5.65685 / 15.65685, 2 / 15.65685]),  # square roots of 64, 32, 4
        (float("inf"), [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_temperature_gives_the_documented_shares_to_the_run_and_to_each_batch(temperature, shares):
    plan = BatchPlan([64, 32, 4], batch_size=10, seed=0, mix="temperature", temperature=temperature)
    counts = [Counter(r.dataset_id for r in plan.batch(step)) for step in range(1000)]
    # A round of 100 clips has whole numbers of them: half a clip less or more.
    for dataset_id, share in enumerate(shares):
        assert sum(c[dataset_id] for c in counts) == pytest.approx(10_000 * share, abs=50)
        assert all(abs(c[dataset_id] - 10 * share) < 2 for c in counts)


def test_datasets_alternate_in_a_batch_by_temperature():
    plan = BatchPlan([50, 50], batch_size=32, seed=1, mix="temperature", temperature=3.0)
    ids = [r.dataset_id for r in plan.batch(7)]
    assert max(len(list(run)) for _, run in groupby(ids)) <= 2


def test_repeated_requests_are_for_several_clips_and_keep_the_places_of_an_epoch():
    plan = BatchPlan([20], batch_size=6, seed=0, repeats=3)
    assert plan.num_steps_per_epoch == 3
    for step in range(6):
        epoch, first = step // 3, step % 3 * 6
        places = [(r.epoch, r.position, r.num_clips) for r in plan.batch(step)]
        assert places == [(epoch, first, 3), (epoch, first + 3, 3)]


def test_repeats_of_videos_need_as_many_epochs_to_see_all_of_them():
    plan = BatchPlan([18], batch_size=6, seed=0, repeats=3)
    videos = [r for _, r in pairs(plan, range(9))]  # 3 epochs of 3 batches of 2 videos
    assert sorted(videos) == list(range(18))


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
        ([3], 2, "fair", "mix must be one of proportional, balanced, temperature, got 'fair'"),
    ],
)
def test_wrong_plans_are_input_errors(sizes, batch_size, mix, message):
    with pytest.raises(InputError, match=message):
        BatchPlan(sizes, batch_size=batch_size, seed=0, mix=mix)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.5}, "temperature must be >= 1, got 0.5"),
        ({"temperature": float("nan")}, "temperature must be >= 1, got nan"),
        ({"repeats": 0}, "repeats must divide the batch_size 4, got 0"),
        ({"repeats": 3}, "repeats must divide the batch_size 4, got 3"),
    ],
)
def test_wrong_options_are_input_errors(options, message):
    with pytest.raises(InputError, match=message):
        BatchPlan([9], batch_size=4, seed=0, **options)
