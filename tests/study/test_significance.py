import itertools

import numpy as np
import pytest
from scipy import stats

from videokd.study import significance
from videokd.study.significance import (
    Interval,
    holm,
    mcnemar,
    mean_and_std,
    paired_bootstrap,
    paired_permutation_test,
)


def _pair(num_both, num_a, num_b, num_none=0):
    """Return a pair with so many videos right under both, a alone, b alone, neither."""
    counts = (num_both, num_a, num_b, num_none)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False] * 2, counts)


def _alone(pairs):
    """Return groups of one video each."""
    return np.arange(np.size(pairs[0][0]) if pairs else 0)


def _permute(pairs, groups=None, *, seed):
    return paired_permutation_test(pairs, _alone(pairs) if groups is None else groups, seed=seed)


def _bootstrap(pairs, groups=None, **options):
    return paired_bootstrap([(pairs, _alone(pairs) if groups is None else groups)], **options)


def _random_pairs(num_seeds, num_videos, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.random(num_videos) < 0.7, rng.random(num_videos) < 0.6) for _ in range(num_seeds)]


def test_mcnemar_is_the_binomial_sum_worked_out_by_hand():
    # Two-sided tail of 2 of 11: 2 (1 + 11 + 55) / 2**11.
    assert mcnemar([_pair(30, 9, 2, 5)]) == pytest.approx(2 * 67 / 2048)


def test_mcnemar_of_many_videos_is_near_the_chi_square_with_continuity_correction():
    p_value = mcnemar([_pair(500, 130, 90)])
    expected = stats.chi2.sf((130 - 90 - 1) ** 2 / 220, df=1)
    assert p_value == pytest.approx(expected, rel=0.02)


def test_mcnemar_adds_the_counts_of_all_seeds():
    pooled = mcnemar([_pair(10, 5, 1), _pair(9, 4, 1, 2)])
    assert pooled == mcnemar([_pair(19, 9, 2, 2)])


def test_mcnemar_of_equal_models_is_one():
    assert mcnemar([_pair(10, 0, 0, 3)]) == 1
    assert mcnemar([_pair(10, 4, 4, 3)]) == 1


def test_exchanging_a_video_at_a_time_under_one_seed_is_mcnemar():
    pairs = [_pair(30, 9, 2, 5)]
    assert _permute(pairs, seed=0) == pytest.approx(mcnemar(pairs))


def test_random_exchanges_come_near_to_mcnemar_where_there_are_too_many_to_count():
    pairs = [_pair(100, 40, 25, 60)]
    p_value = _permute(pairs, seed=0)
    assert p_value == pytest.approx(mcnemar(pairs), abs=0.015)


def test_more_seeds_with_the_same_outcome_are_no_more_evidence():
    pairs = [_pair(30, 9, 2, 5)]
    once = _permute(pairs, seed=0)
    assert _permute(pairs * 3, seed=0) == pytest.approx(once)
    assert mcnemar(pairs * 3) < once / 10


def test_whole_groups_are_exchanged():
    # Groups 0 and 1 hold all twelve videos: of 4 exchanges, 2 are as extreme.
    pairs, groups = [_pair(0, 12, 0)], np.array(["x", "y"] * 6)
    assert _permute(pairs, groups, seed=0) == pytest.approx(0.5)
    assert _permute(pairs, seed=0) == pytest.approx(2 / 2**12)


def test_exchanges_of_groups_under_seeds_are_those_of_a_slow_loop():
    pairs, groups = _random_pairs(3, 30, seed=4), np.arange(30) % 6
    totals = np.zeros(6)
    for a, b in pairs:
        for n in range(30):
            totals[groups[n]] += int(a[n]) - int(b[n])
    all_sums = [
        sum(sign * total for sign, total in zip(signs, totals, strict=True))
        for signs in itertools.product([-1, 1], repeat=6)
    ]
    expected = np.mean([abs(s) >= abs(totals.sum()) for s in all_sums])
    assert 0.01 < expected < 1
    assert _permute(pairs, groups, seed=0) == pytest.approx(expected)


def test_models_right_on_the_same_videos_do_not_differ():
    assert _permute([_pair(10, 0, 0, 3)], seed=0) == 1


@pytest.mark.parametrize("resample_seeds", [False, True])
def test_the_bootstrap_is_that_of_a_slow_loop_over_groups_and_seeds(resample_seeds):
    pairs, groups = _random_pairs(3, 20), np.random.default_rng(1).integers(0, 5, 20)
    rng = np.random.default_rng(7)
    group_draws = rng.multinomial(5, np.full(5, 1 / 5), 200)
    seed_draws = rng.multinomial(3, np.full(3, 1 / 3), 200) if resample_seeds else [[1] * 3] * 200
    means = []
    for times_group, times_seed in zip(group_draws, seed_draws, strict=True):
        videos = [n for n in range(20) for _ in range(times_group[groups[n]])]
        seeds = [s for s in range(3) for _ in range(times_seed[s])]
        values = [float(pairs[s][0][n]) - float(pairs[s][1][n]) for s in seeds for n in videos]
        means.append(100 * sum(values) / len(values))
    low, high = np.quantile(means, [0.025, 0.975])
    interval = _bootstrap(pairs, groups, resample_seeds=resample_seeds, num_resamples=200, seed=7)
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    assert interval.low < interval.mean < interval.high


def test_the_mean_difference_is_in_points_and_positive_where_a_is_better():
    # 9 - 2 of 50 videos, and 3 - 5 of 50.
    interval = _bootstrap([_pair(30, 9, 2, 9), _pair(30, 3, 5, 12)], seed=0)
    assert interval.mean == pytest.approx((14 - 4) / 2)


def test_the_interval_holds_the_true_difference_in_about_95_percent():
    num_held = 0
    for seed in range(300):
        pairs = _random_pairs(1, 150, seed)
        interval = _bootstrap(pairs, num_resamples=400, seed=seed)
        num_held += interval.low <= 10 <= interval.high
    assert 0.92 < num_held / 300 < 0.98


def test_copies_of_videos_do_not_narrow_the_interval_when_grouped():
    pairs = _random_pairs(2, 40)
    copies = [(np.repeat(a, 5), np.repeat(b, 5)) for a, b in pairs]
    alone = _bootstrap(pairs, seed=3)
    grouped = _bootstrap(copies, np.repeat(np.arange(40), 5), seed=3)
    assert (grouped.low, grouped.high) == (pytest.approx(alone.low), pytest.approx(alone.high))
    ungrouped = _bootstrap(copies, seed=3)
    assert ungrouped.high - ungrouped.low < 0.6 * (alone.high - alone.low)


def test_seeds_that_contradict_each_other_show_only_when_seeds_are_resampled():
    # Every video: right under a alone with one seed, under b alone with the other.
    pairs = [_pair(0, 8, 0), _pair(0, 0, 8)]
    assert _bootstrap(pairs, seed=0) == Interval(0, 0, 0)
    # One seed twice: 1/4 each, more than what the interval leaves out.
    wide = _bootstrap(pairs, resample_seeds=True, seed=0)
    assert wide == Interval(0, -100, 100)


def test_equal_seeds_add_nothing_to_the_interval_when_resampled():
    pairs = _random_pairs(1, 60) * 4
    fixed = _bootstrap(pairs, seed=0)
    resampled = _bootstrap(pairs, resample_seeds=True, seed=0)
    assert (resampled.low, resampled.high) == (pytest.approx(fixed.low), pytest.approx(fixed.high))


def test_drawing_in_portions_changes_nothing(monkeypatch):
    pairs = _random_pairs(2, 30)
    at_once = _bootstrap(pairs, num_resamples=100, seed=5)
    monkeypatch.setattr(significance, "_MAX_DRAWN", 7 * 30)
    assert _bootstrap(pairs, num_resamples=100, seed=5) == at_once


def test_the_seed_alone_decides_the_draws():
    pairs = _random_pairs(2, 30)
    draws = [_bootstrap(pairs, num_resamples=50, seed=seed) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_one_seed_cannot_be_resampled():
    with pytest.raises(ValueError, match="two seeds or more, got 1"):
        _bootstrap(_random_pairs(1, 9), resample_seeds=True, seed=0)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "nothing to compare"),
        ([(np.zeros(0, bool), np.zeros(0, bool))], "nothing to compare"),
        ([(np.ones(4, bool), np.ones(1, bool))], r"same N videos, got bool \(1,\), bool \(4,\)"),
        ([_pair(4, 0, 0), _pair(3, 0, 0)], "same N videos"),
        ([(np.array([2, 0]), np.array([1, 0]))], r"boolean arrays .* got int64 \(2,\)"),
    ],
)
def test_arrays_that_are_not_pairs_of_videos_are_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        mcnemar(pairs)
    with pytest.raises(ValueError, match=message):
        _bootstrap(pairs, seed=0)


def test_groups_name_every_video():
    with pytest.raises(ValueError, match=r"groups must be \(9,\), one per video, got \(3,\)"):
        _bootstrap(_random_pairs(1, 9), np.arange(3), seed=0)


def test_holm_gives_the_values_worked_out_by_hand():
    # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, then 0.04 * 1 raised to 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1, 1]


def test_holm_lies_between_the_p_values_and_bonferroni():
    p = np.random.default_rng(0).random(20) ** 3
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(20 * p, 1) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


@pytest.mark.parametrize("value", [-0.1, 1.2, np.nan])
def test_holm_refuses_values_outside_0_to_1(value):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got"):
        holm([0.1, value])


def test_the_spread_of_seeds_is_the_sample_standard_deviation():
    assert mean_and_std([1, 2, 6]) == (3, pytest.approx(7**0.5))
    mean, std = mean_and_std([4.0])
    assert mean == 4
    assert np.isnan(std)


def test_a_mean_over_datasets_weighs_them_alike():
    # 1 of 4 videos up and 4 of 8 down: pooled it would be -3 of 12.
    datasets = [([_pair(0, 1, 0, 3)], np.arange(4)), ([_pair(0, 0, 4, 4)], np.arange(8))]
    interval = paired_bootstrap(datasets, seed=0)
    assert interval.mean == pytest.approx((25 - 50) / 2)
    assert interval.low < interval.mean < interval.high


def test_the_interval_of_a_mean_is_that_of_independent_datasets():
    datasets = [(_random_pairs(2, 200), np.arange(200)) for _ in range(4)]
    whole = paired_bootstrap(datasets, seed=1)
    widths = []
    for pairs, groups in datasets:
        one = _bootstrap(pairs, groups, seed=1)
        widths.append(one.high - one.low)
    # Variances add: the mean of four has a quarter of the sum's width, which is sqrt(4) of one's.
    expected = np.linalg.norm(widths) / 4
    assert whole.high - whole.low == pytest.approx(expected, rel=0.1)


def test_a_mean_needs_the_same_seeds_everywhere():
    datasets = [(_random_pairs(2, 9), np.arange(9)), (_random_pairs(3, 9), np.arange(9))]
    with pytest.raises(ValueError, match=r"same seeds, got numbers \[2, 3\]"):
        paired_bootstrap(datasets, seed=0)


def test_one_video_that_differs_proves_nothing():
    assert _permute([_pair(9, 1, 0)], seed=0) == 1
