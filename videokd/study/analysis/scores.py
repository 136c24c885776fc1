"""Sections on predictions: inherited errors, calibration, per-class accuracy."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from videokd.report.results import Scored
from videokd.study.analysis import figures
from videokd.study.analysis.calibration import (
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from videokd.study.analysis.networks import STUDENT_KEYS, TITLES, Scores
from videokd.study.analysis.predictions import (
    ClassChange,
    class_changes,
    inherited_errors,
    top1_agreement,
)
from videokd.study.markdown import Section, count_seeds, format_seeds, markdown_table

# Maximum number of classes in a table and picture; the largest gains and losses are kept.
_MAX_CLASSES = 30
_NUM_BINS = 15


def read_inheritance(scores: Scores, folder: Path, *, remark: str) -> Section:
    """Compute the share of T*'s errors that students and B1 repeat.

    Args:
        scores: From ``read_all_scores``.
        folder: Output folder of the picture.
        remark: From ``describe_fused_students``.
    """
    wrong, same, agreement = {}, {}, {}
    rows = []
    for name, key in _pairs(scores, STUDENT_KEYS):
        pairs = list(zip(scores[name]["joint"], scores[name][key], strict=True))
        errors = [inherited_errors(t.probs, s.probs, t.labels) for t, s in pairs]
        cell = (name, TITLES[key])
        wrong[cell] = [one.wrong for one in errors]
        same[cell] = [one.same for one in errors]
        agreement[cell] = [top1_agreement(t.probs, s.probs) for t, s in pairs]
        counts = format_seeds([one.num_teacher_errors for one in errors])
        shares = [format_seeds(values[cell]) for values in (wrong, same, agreement)]
        rows.append((name, TITLES[key], counts, *shares))
    panels = {
        "T*'s very class (% of T*'s errors)": same,
        "wrong too (% of T*'s errors)": wrong,
        "agreement with T* (% of videos)": agreement,
    }
    figures.draw_shares(folder / "inheritance.png", panels)
    header = ("dataset", "network", "T*'s errors", "wrong too %", "same class %", "agreement %")
    text = (
        "What students and B1 say about the test videos that T* gets wrong: whether they are "
        "wrong too, whether they name T*'s very class; and how often they agree with T* on all "
        f"videos. Mean and standard deviation over {count_seeds(_num_seeds(scores))}; a seed in "
        f"which T* makes no error has no share.{remark}\n\n"
        f"{markdown_table(header, rows, num_names=2)}\n\n"
        "How to read it: T*'s mistakes were handed down where the student names T*'s very class "
        "more often than B1, which never saw T*, without being wrong more often."
    )
    return Section("Errors inherited from T*", text, ("inheritance.png",))


def read_calibration(scores: Scores, folder: Path) -> Section:
    """Compare confidence with accuracy.

    Args:
        scores: From ``read_all_scores``.
        folder: Output folder of the picture.
    """
    keys = [key for key in TITLES if key in next(iter(scores.values()))]
    figures.draw_reliability(
        folder / "calibration.png",
        {
            name: {
                TITLES[key]: reliability(*_pool(of_dataset[key]), num_bins=_NUM_BINS)
                for key in keys
            }
            for name, of_dataset in scores.items()
        },
    )
    rows = []
    for name, key in _pairs(scores, keys):
        seeds = [(one.probs, one.labels) for one in scores[name][key]]
        ece = format_seeds(expected_calibration_error(*one, num_bins=_NUM_BINS) for one in seeds)
        nll = format_seeds((negative_log_likelihood(*one) for one in seeds), digits=3)
        rows.append((name, TITLES[key], ece, nll))
    header = ("dataset", "network", "ECE (points)", "NLL (nats)")
    text = (
        "Probabilities of the test videos, averaged over their views. The diagrams pool the "
        f"videos of all seeds in {_NUM_BINS} bins of equal width; the area of a point grows with "
        "its videos. The table has the expected calibration error over the same bins and the "
        "negative log-likelihood, mean and standard deviation over "
        f"{count_seeds(_num_seeds(scores))}.\n\n"
        f"{markdown_table(header, rows, num_names=2)}\n\n"
        "How to read it: points below the diagonal are too sure of themselves, points above it not "
        "sure enough; a lower NLL is better in accuracy and calibration together."
    )
    return Section("Calibration", text, ("calibration.png",))


def read_class_changes(scores: Scores, folder: Path) -> Section:
    """Compare the student with B1 class by class.

    Args:
        scores: From ``read_all_scores``, with B1.
        folder: Output folder of the picture.
    """
    changes: dict[str, list[ClassChange]] = {}
    points: dict[str, dict[int, list[float]]] = {}
    for name, of_dataset in scores.items():
        alone, student = of_dataset["B1"], of_dataset["students"]
        before, labels = _pool(alone)
        changes[name] = _keep_extremes(class_changes(before, _pool(student)[0], labels))
        points[name] = defaultdict(list)
        for b, s in zip(alone, student, strict=True):
            for change in class_changes(b.probs, s.probs, b.labels):
                points[name][change.label].append(change.points)
    class_names = {name: of_dataset["B1"][0].class_names for name, of_dataset in scores.items()}
    figures.draw_changes(
        folder / "classes.png",
        {
            name: {class_names[name][c.label]: (c.points, points[name][c.label]) for c in of_name}
            for name, of_name in changes.items()
        },
    )
    rows = [
        (
            name,
            class_names[name][change.label],
            str(change.num_videos // _num_seeds(scores)),
            f"{change.before:.1f}",
            f"{change.after:.1f}",
            format_seeds(points[name][change.label]),
        )
        for name, of_name in changes.items()
        for change in of_name
    ]
    header = ("dataset", "class", "videos", "B1 %", "student %", "change (points)")
    text = (
        "Top-1 of each class of the test videos, the student's minus B1's, pooled over "
        f"{count_seeds(_num_seeds(scores))}; the deviation of the change is that over seeds.\n\n"
        f"{markdown_table(header, rows, num_names=2)}\n\n"
        "How to read it: bars to the right are classes that distillation helps; trust those whose "
        "seeds (dots) lie on one side."
    )
    return Section("Change per class", text, ("classes.png",))


def _pairs(scores: Scores, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name, of_dataset in scores.items():
        yield from ((name, key) for key in keys if key in of_dataset)


def _pool(seeds: Sequence[Scored]) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (S * N, K) and labels (S * N,) of all seeds."""
    probs = np.concatenate([one.probs for one in seeds])
    return probs, np.concatenate([one.labels for one in seeds])


def _keep_extremes(changes: list[ClassChange]) -> list[ClassChange]:
    """Return the changes from largest gain to largest loss, without the middle of a long list."""
    ordered = sorted(changes, key=lambda change: -change.points)
    half = _MAX_CLASSES // 2
    return ordered if len(ordered) <= _MAX_CLASSES else ordered[:half] + ordered[-half:]


def _num_seeds(scores: Scores) -> int:
    return len(next(iter(scores.values()))["students"])
