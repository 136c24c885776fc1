"""Outcomes of scored variants, and the comparison of each with the one that it is set against."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videokd.pipeline.run import Run
from videokd.pipeline.scoring import score_fingerprint
from videokd.study.finished import Finished
from videokd.study.significance import (
    Pairs,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_permutation_test,
)
from videokd.study.study import Study, Variant
from videokd.utils.errors import InputError

# Seed of the random draws, so that equal results give an equal page.
_SEED = 0


@dataclass(frozen=True)
class Outcome:
    """Result of one variant on one dataset under one seed, N videos."""

    is_right: NDArray[np.bool_]
    """(N,)"""
    videos: tuple[str, ...]
    """N paths."""
    groups: tuple[str, ...]
    """Source of each video, N names; a video without near copies is its own group."""

    @property
    def top1(self) -> float:
        """Accuracy in percent."""
        return float(100 * self.is_right.mean())


Outcomes = dict[tuple[str, int], dict[str, Outcome]]
"""(variant, seed) -> dataset -> outcome; only entries that are scored on all datasets."""


def read_outcomes(study: Study, split: str, finished: Finished) -> Outcomes:
    """Return the outcomes of all scored variants.

    Args:
        study: The study.
        split: "val" or "test".
        finished: Scores of the study.
    """
    outcomes: Outcomes = {}
    for variant, seed in [(v, seed) for v in study.variants for seed in v.seeds]:
        run = study.runs[variant.name, seed]
        row = study.row(variant, seed)
        found = {
            name: finished.scores.get(score_fingerprint(run, training, name, split))
            for name, training in row.items()
        }
        if all(found.values()):
            outcomes[variant.name, seed] = {
                name: _make_outcome(run, name, split, answers or "")
                for name, answers in found.items()
            }
    return outcomes


def _make_outcome(run: Run, name: str, split: str, answers: str) -> Outcome:
    records = [
        (record, answer == "1")
        for record, answer in zip(run.datasets[name].index(split).records, answers, strict=True)
        if answer != "-"
    ]
    groups = (f"{record.label}/{record.group}" for record, _ in records)
    is_right = np.array([right for _, right in records])
    return Outcome(is_right, tuple(record.path for record, _ in records), tuple(groups))


@dataclass(frozen=True)
class Comparison:
    """Accuracy of variant a minus variant b on one dataset, or on the mean of all."""

    a: str
    b: str
    dataset: str
    """Name of the dataset, or "mean"."""
    group: str
    """Group of b; Holm's correction covers all comparisons of a group."""
    seeds: tuple[int, ...]
    """Seeds of both variants."""
    difference: float
    """Top-1 difference in percentage points; low to high is the 95 % interval over videos."""
    low: float
    high: float
    low_seeds: float | None
    """Interval over videos and seeds; None with one seed, or if the videos differ between seeds."""
    high_seeds: float | None
    mcnemar_p: float
    permutation_p: float
    holm_p: float


def compare_all(outcomes: Outcomes, variants: Sequence[Variant]) -> list[Comparison]:
    """Compare every variant with the one that it is set against, on their common seeds.

    Args:
        outcomes: Outcomes of all scored variants; variants without a common seed are left out.
        variants: All scored variants; one that is set against another that is not among them is
            left out.

    Raises:
        InputError: Two variants are scored on different videos.
    """
    by_name = {variant.name: variant for variant in variants}
    found = []
    for b in variants:
        a = by_name.get(b.against)
        if a is None or a is b:
            continue
        seeds = [s for s in a.seeds if (a.name, s) in outcomes and (b.name, s) in outcomes]
        if seeds:
            found += _compare(outcomes, a, b, seeds)
    return _correct(found)


def _compare(outcomes: Outcomes, a: Variant, b: Variant, seeds: Sequence[int]) -> list[Comparison]:
    names = list(outcomes[a.name, seeds[0]])
    of_a = {name: [outcomes[a.name, seed][name] for seed in seeds] for name in names}
    of_b = {name: [outcomes[b.name, seed][name] for seed in seeds] for name in names}
    for name in names:
        if [x.videos for x in of_a[name]] != [x.videos for x in of_b[name]]:
            raise InputError(
                f"{name}: {a.name} and {b.name} are scored on different videos; delete the scores "
                "of one of them and run the same command again"
            )
    # The held-out videos depend on the seed; the test videos do not.
    is_same = all(len({x.videos for x in of_a[name]}) == 1 for name in names)
    stack = _stack_seeds if is_same else _chain_seeds
    data = {name: stack(name, of_a[name], of_b[name]) for name in names}
    parts = {name: [pair] for name, pair in data.items()}
    if len(names) > 1:
        parts["mean"] = list(data.values())
    return [_measure(a, b, name, seeds, part) for name, part in parts.items()]


def _stack_seeds(
    name: str, of_a: Sequence[Outcome], of_b: Sequence[Outcome]
) -> tuple[Pairs, NDArray[Any]]:
    pairs = [(x.is_right, y.is_right) for x, y in zip(of_a, of_b, strict=True)]
    return pairs, _name_groups(name, of_a[:1])


def _chain_seeds(
    name: str, of_a: Sequence[Outcome], of_b: Sequence[Outcome]
) -> tuple[Pairs, NDArray[Any]]:
    # Treat the videos of all seeds as the test set of one pair of networks. A video that several
    # seeds hold out is one group, so that it does not count as independent videos.
    right_a = np.concatenate([x.is_right for x in of_a])
    right_b = np.concatenate([y.is_right for y in of_b])
    return [(right_a, right_b)], _name_groups(name, of_a)


def _name_groups(name: str, outcomes: Sequence[Outcome]) -> NDArray[Any]:
    return np.array([f"{name}/{group}" for x in outcomes for group in x.groups])


def _measure(
    a: Variant,
    b: Variant,
    name: str,
    seeds: Sequence[int],
    data: Sequence[tuple[Pairs, NDArray[Any]]],
) -> Comparison:
    over_videos = paired_bootstrap(data, seed=_SEED)
    over_seeds = None
    num_pairs = len(data[0][0])
    if num_pairs > 1:
        over_seeds = paired_bootstrap(data, resample_seeds=True, seed=_SEED)
    # The p values pool the videos of all datasets.
    pooled = [
        (
            np.concatenate([pairs[i][0] for pairs, _ in data]),
            np.concatenate([pairs[i][1] for pairs, _ in data]),
        )
        for i in range(num_pairs)
    ]
    groups = np.concatenate([groups for _, groups in data])
    p_value = paired_permutation_test(pooled, groups, seed=_SEED)
    return Comparison(
        a=a.name,
        b=b.name,
        dataset=name,
        group=b.group,
        seeds=tuple(seeds),
        difference=over_videos.mean,
        low=over_videos.low,
        high=over_videos.high,
        low_seeds=None if over_seeds is None else over_seeds.low,
        high_seeds=None if over_seeds is None else over_seeds.high,
        mcnemar_p=mcnemar(pooled),
        permutation_p=p_value,
        holm_p=p_value,
    )


def _correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    corrected: dict[int, float] = {}
    for group in {comparison.group for comparison in comparisons}:
        family = [i for i, comparison in enumerate(comparisons) if comparison.group == group]
        adjusted = holm([comparisons[i].permutation_p for i in family])
        corrected |= {i: float(p) for i, p in zip(family, adjusted, strict=True)}
    return [replace(c, holm_p=corrected[i]) for i, c in enumerate(comparisons)]
