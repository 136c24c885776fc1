"""Significance of a difference of two accuracies: paired tests, intervals over videos and seeds.

In all functions, ``pairs`` holds one pair per seed: two boolean arrays (N,) that flag the videos
that model a and model b get right. All arrays cover the same videos in the same order. A difference
is a minus b. ``groups`` (N,) names the source of each video (class and group in UCF101): videos of
one group are near copies, so they are drawn or exchanged together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pairs = Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]

_NUM_RESAMPLES = 10_000
_LEVEL = 0.95
# Number of random numbers held at once: 32 MiB of int64.
_MAX_DRAWN = 2**22


@dataclass(frozen=True)
class Interval:
    """Mean difference and its 95 % interval, in percentage points."""

    mean: float
    low: float
    high: float


def mcnemar(pairs: Pairs) -> float:
    """Compute the two-sided p value of McNemar's test of a and b being right equally often.

    The test is exact: binomial with probability 1/2 over the videos that only one model
    gets right, for any number of videos. The counts of all seeds are added, which treats a video
    under two seeds as two independent videos. With several seeds the p value is therefore too
    small; report ``paired_permutation_test`` instead.

    Raises:
        ValueError: No pair, or arrays that do not match in shape or type.
    """
    from scipy.stats import binomtest

    difference = _differences(pairs)
    num_a, num_b = int((difference > 0).sum()), int((difference < 0).sum())
    return float(binomtest(num_a, num_a + num_b).pvalue) if num_a + num_b else 1.0


def paired_permutation_test(pairs: Pairs, groups: NDArray[Any], *, seed: int) -> float:
    """Compute the two-sided p value of the mean difference by exchanging a and b.

    Null hypothesis: for the given networks, the labels a and b can be exchanged in each video (or
    group). All seeds of a video are exchanged together, so more seeds do not count as more videos.
    Up to 10,000 exchanges are all counted; beyond that, as many are drawn at random. With one seed
    and groups of one video the test equals ``mcnemar``. Like that test, it says nothing about
    networks trained from other seeds.

    Args:
        pairs: See the module.
        groups: (N,) of any sortable type.
        seed: Seed of the exchanges.

    Raises:
        ValueError: No pair, or arrays that do not match in shape or type.
    """
    from scipy.stats import permutation_test

    totals = _group_totals(_differences(pairs), groups)[0].sum(axis=0)
    # A total of 0 does not change when exchanged. Without zeros, fewer videos remain, and the test
    # is exact more often.
    totals = totals[totals != 0]
    # A single total is as far from 0 after the exchange as before.
    if len(totals) < 2:
        return 1.0
    result = permutation_test(
        (totals,),
        lambda exchanged, axis: exchanged.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_NUM_RESAMPLES,
        batch=max(1, _MAX_DRAWN // len(totals)),
        random_state=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def paired_bootstrap(
    datasets: Sequence[tuple[Pairs, NDArray[Any]]],
    *,
    resample_seeds: bool = False,
    num_resamples: int = _NUM_RESAMPLES,
    seed: int,
) -> Interval:
    """Compute the mean difference over seeds, videos and datasets with its percentile interval.

    Each resample draws as many videos (or groups) as there are, with replacement, the same ones for
    all seeds. The interval covers the choice of test videos for the given networks only. With
    ``resample_seeds`` it also draws the pairs of networks with replacement, independently of the
    videos (Owen 2007, the pigeonhole bootstrap), and covers the choice of seeds too. With S seeds
    their variance is underestimated by the factor (S - 1) / S, so the interval is too narrow for
    few seeds.

    Every dataset has the same weight, independent of its number of videos. Videos are drawn in each
    dataset independently. Seeds are drawn for all datasets together, because the networks of one
    seed share a teacher.

    Args:
        datasets: (pairs, groups) of each dataset, with the same seeds in the same order; groups are
            (N,) of any sortable type.
        resample_seeds: Whether to draw seeds too.
        num_resamples: > 0.
        seed: Seed of the draws.

    Raises:
        ValueError: No dataset, datasets with different numbers of seeds, no pair, arrays that do
            not match, or ``resample_seeds`` with a single seed.
    """
    differences = [_differences(pairs) for pairs, _ in datasets]
    counts = {len(difference) for difference in differences}
    if len(counts) != 1:
        raise ValueError(f"every dataset must have the same seeds, got numbers {sorted(counts)}")
    num_seeds = counts.pop()
    if resample_seeds and num_seeds < 2:
        raise ValueError("resample_seeds needs two seeds or more, got 1")
    rng = np.random.default_rng(seed)
    means = np.zeros((num_resamples, num_seeds))
    for difference, (_, groups) in zip(differences, datasets, strict=True):
        totals, sizes = _group_totals(difference, groups)
        means += _resampled_means(totals, sizes, num_resamples, rng) / len(datasets)
    if resample_seeds:
        means *= rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_resamples)
    resampled = 100 * means.sum(axis=1) / num_seeds
    low, high = np.quantile(resampled, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    mean = float(np.mean([100 * difference.mean() for difference in differences]))
    return Interval(mean, float(low), float(high))


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute adjusted p values of several tests, which bound the chance of any false positive.

    In the method of Holm (1979), the i-th smallest of m p values, counted from 0, is multiplied by
    m - i, then raised to the largest before it and capped at 1. Adjusted values at or below the
    level are significant.

    Args:
        p_values: (m,) in [0, 1].

    Returns:
        (m,) in the order given.

    Raises:
        ValueError: A p value is outside [0, 1] or NaN.
    """
    p = np.asarray(p_values, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p values must be in [0, 1], got {p.tolist()}")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    factors = np.arange(len(p), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def mean_and_std(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n - 1), which is nan for one value."""
    values = np.asarray(values, np.float64)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _differences(pairs: Pairs) -> NDArray[np.int64]:
    """Return (S, N): 1 where only a is right, -1 where only b is right, else 0."""
    arrays = [np.asarray(is_right) for pair in pairs for is_right in pair]
    if not arrays or not arrays[0].size:
        raise ValueError("there is nothing to compare: no pair of arrays, or no videos in them")
    if any(a.ndim != 1 or a.shape != arrays[0].shape or a.dtype != bool for a in arrays):
        found = ", ".join(sorted({f"{a.dtype} {a.shape}" for a in arrays}))
        raise ValueError(f"pairs must be boolean arrays (N,) over the same N videos, got {found}")
    stacked = np.stack(arrays).astype(np.int64).reshape(-1, 2, arrays[0].size)
    return stacked[:, 0] - stacked[:, 1]


def _group_totals(
    difference: NDArray[np.int64], groups: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sums (S, G) of ``difference`` (S, N) over each group, and the sizes (G,)."""
    num_videos = difference.shape[1]
    if np.shape(groups) != (num_videos,):
        raise ValueError(f"groups must be ({num_videos},), one per video, got {np.shape(groups)}")
    _, group_of_video, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    totals = np.zeros((len(difference), len(sizes)), np.int64)
    for total, row in zip(totals, difference, strict=True):
        np.add.at(total, group_of_video, row)
    return totals, sizes


def _resampled_means(
    totals: NDArray[np.int64],
    sizes: NDArray[np.int64],
    num_resamples: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the mean difference (R, S) of each seed in each resample of the groups."""
    num_groups = len(sizes)
    share = np.full(num_groups, 1 / num_groups)
    at_once = max(1, _MAX_DRAWN // num_groups)
    means = []
    for start in range(0, num_resamples, at_once):
        # Number of draws of each group: (at most at_once, G). float64 products use BLAS.
        drawn = rng.multinomial(num_groups, share, min(at_once, num_resamples - start))
        weights = drawn.astype(np.float64)
        means.append((weights @ totals.T) / (weights @ sizes)[:, None])
    return np.concatenate(means)
