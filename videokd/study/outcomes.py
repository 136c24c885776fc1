"""Outcomes of a study: the correctly classified videos of each variant under each seed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videokd.data.lists.index import VideoIndex
from videokd.pipeline.run import Run
from videokd.pipeline.scoring import is_scored
from videokd.pipeline.training import Training
from videokd.report.results import read_scores
from videokd.study.analysis.predictions import decide
from videokd.study.jobs import Study


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


def read_outcomes(study: Study, split: str) -> Outcomes:
    """Read the outcomes of all scored variants.

    Args:
        study: The study.
        split: "val" or "test".
    """
    known: dict[tuple[Path, str], Outcome | None] = {}
    outcomes: Outcomes = {}
    for variant, seed in [(v, seed) for v in study.variants for seed in v.seeds]:
        run = study.runs[variant.name, seed]
        found = {}
        for name, training in study.row(variant, seed).items():
            key = (run.plan.path(training), name)
            if key not in known:
                known[key] = _read(run, training, name, split)
            found[name] = known[key]
        whole = {name: outcome for name, outcome in found.items() if outcome is not None}
        if len(whole) == len(found):
            outcomes[variant.name, seed] = whole
    return outcomes


def find_groups(index: VideoIndex, *, has_groups: bool) -> dict[str, str]:
    """Return path -> name of the video's source.

    Args:
        index: The videos.
        has_groups: Whether videos of the same class and group are near copies of each other, as in
            UCF101. Otherwise each video is its own group.
    """
    return {
        record.path: f"{record.label}/{record.group}" if has_groups else record.path
        for record in index.records
    }


def _read(run: Run, training: Training, name: str, split: str) -> Outcome | None:
    if not is_scored(run, training, split):
        return None
    scored = read_scores(run.plan.path(training), name, split)
    if scored is None:
        return None
    has_groups = run.cfg.DATASETS[name].FORMAT == "ucf101"
    groups = find_groups(run.datasets[name].index(split), has_groups=has_groups)
    is_right = decide(scored.probs) == scored.labels
    return Outcome(is_right, scored.paths, tuple(groups[path] for path in scored.paths))
