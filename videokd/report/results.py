"""Report data: files of a run directory, and the numbers computed from them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videokd.engine.training_file import read_calls
from videokd.evaluation.metrics import confusion_matrix, fuse_views
from videokd.evaluation.results import read_result
from videokd.utils.errors import InputError
from videokd.utils.io import read_json

_Z_95 = 1.959964  # quantile of the normal distribution


@dataclass(frozen=True)
class RunFiles:
    """Files that describe a run; missing files are empty."""

    folder: Path
    summary: dict[str, Any]
    """``results.json``, or a substitute: always has datasets, models and trainings."""
    calls: dict[str, list[dict[str, Any]]]
    """Folder of a training -> the calls that worked on it, see ``read_training_file``."""
    config: str


@dataclass(frozen=True)
class Scored:
    """Predictions of one model on a test split, N videos of K classes."""

    class_names: tuple[str, ...]
    probs: NDArray[np.float64]
    """(N, K), averaged over views."""
    labels: NDArray[np.int64]
    """(N,)"""
    paths: tuple[str, ...]
    """N paths relative to ``root``."""
    root: Path

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) most probable classes."""
        return self.probs.argmax(axis=1)

    def confusion(self) -> NDArray[np.int64]:
        """(K, K) counts, rows are labels."""
        return confusion_matrix(self.predicted, self.labels, len(self.class_names))


@dataclass(frozen=True)
class Cell:
    """One number of the accuracy table; ``value`` is None if it was not measured."""

    value: float | None
    interval: tuple[float, float] | None = None
    is_best: bool = False


@dataclass(frozen=True)
class Row:
    """One model of the accuracy table: a cell per dataset, then the mean over datasets."""

    title: str
    cells: tuple[Cell, ...]


def read_run(folder: Path) -> RunFiles:
    """Read the files of a run directory.

    Raises:
        InputError: The folder holds neither ``config.yaml`` nor ``results.json``.
    """
    config, results = folder / "config.yaml", folder / "results.json"
    if not config.is_file() and not results.is_file():
        raise InputError(f"{folder} is not a run directory: no config.yaml and no results.json")
    begun = {"datasets": [], "models": _find_trainings(folder), "trainings": []}
    summary = {**begun, **_read_object(results)}
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    return RunFiles(folder, summary, read_calls(folder), text)


def read_scores(folder: Path, dataset: str, split: str = "test") -> Scored | None:
    """Read a model's predictions on a split; None if they are missing or incomplete.

    Args:
        folder: Folder of the model.
        dataset: Name of the dataset.
        split: "test", or "val" for the held-out videos.
    """
    result = read_result(folder, dataset, split)
    if result is None:
        return None
    try:
        with np.load(folder / split / f"{dataset}.npz", allow_pickle=False) as arrays:
            logits, labels, paths = (arrays[name] for name in ("logits", "labels", "paths"))
    except (OSError, ValueError, KeyError):
        return None
    if not len(labels):
        return None
    return Scored(
        tuple(result["class_names"]),
        fuse_views(logits),
        labels,
        tuple(str(path) for path in paths),
        Path(result.get("root", "")),
    )


def make_rows(summary: Mapping[str, Any], metric: str) -> list[Row]:
    """Build the accuracy table of one metric.

    Args:
        summary: ``RunFiles.summary``.
        metric: "top1", "top5" or "mean_class". The first two are shares of videos and get
            intervals.

    Returns:
        One row per model tested on at least one dataset, with the best cells of each column marked.
    """
    rows = [_make_row(model, summary["datasets"], metric) for model in summary["models"]]
    rows = [row for row in rows if any(cell.value is not None for cell in row.cells)]
    columns = zip(*(row.cells for row in rows), strict=True)
    best = [
        max((c.value for c in column if c.value is not None), default=None) for column in columns
    ]
    return [
        Row(
            row.title,
            tuple(
                Cell(c.value, c.interval, c.value is not None and c.value == top)
                for c, top in zip(row.cells, best, strict=True)
            ),
        )
        for row in rows
    ]


def compare_students(summary: Mapping[str, Any]) -> list[Row]:
    """Return the students' top-1 minus that of every other model, in percentage points.

    Returns:
        One row per other model that shares a dataset; no cell is marked as best.
    """
    models = {model["key"]: model for model in summary["models"]}
    own = models.pop("students", {}).get("top1", {})
    rows = []
    for model in models.values():
        other = model["top1"]
        gains = {name: own[name] - other[name] for name in own.keys() & other.keys()}
        if gains:
            gain = {"title": model["title"], "gain": gains}
            rows.append(_make_row(gain, summary["datasets"], "gain"))
    return rows


def wilson_interval(percent: float, num_videos: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share of videos, in percent.

    The interval covers the choice of test videos, not the spread over seeds.

    Args:
        percent: The share, 0 to 100.
        num_videos: Total number of videos, > 0.
    """
    share, n = percent / 100, num_videos
    denominator = 1 + _Z_95**2 / n
    centre = (share + _Z_95**2 / (2 * n)) / denominator
    spread = math.sqrt(share * (1 - share) / n + _Z_95**2 / (4 * n**2))
    half = _Z_95 * spread / denominator
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def top_confusions(scored: Scored, limit: int) -> list[tuple[str, str, int, int]]:
    """Return the most frequent mistakes: (label, predicted, count, videos of that label)."""
    matrix = scored.confusion()
    sizes = matrix.sum(axis=1)
    wrong = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    names = scored.class_names
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(flat), len(names)) for flat in order]
    return [
        (names[i], names[j], int(wrong[i, j]), int(sizes[i])) for i, j in pairs if wrong[i, j] > 0
    ]


def _make_row(model: Mapping[str, Any], datasets: list[str], metric: str) -> Row:
    values = [model.get(metric, {}).get(name) for name in datasets]
    counts = [model.get("num_videos", {}).get(name) for name in datasets]
    cells = [
        Cell(v, wilson_interval(v, n) if v is not None and n and metric != "mean_class" else None)
        for v, n in zip(values, counts, strict=True)
    ]
    known = [v for v in values if v is not None]
    is_whole = len(known) == len(datasets) and known
    mean = sum(known) / len(known) if is_whole else None
    return Row(str(model["title"]), (*cells, Cell(mean)))


def _find_trainings(folder: Path) -> list[dict[str, Any]]:
    """List the trainings of a run without results as untested models."""
    models: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("metrics.jsonl")):
        name = path.parent.relative_to(folder)
        # experts/UCF -> experts, baselines/B1/UCF -> baselines/B1, joint -> joint
        key = (name.parent if len(name.parts) > 1 else name).as_posix()
        model = models.setdefault(key, {"key": key, "title": key, "top1": {}, "folders": {}})
        model["folders"][name.name] = name.as_posix()
    return list(models.values())


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (OSError, json.JSONDecodeError):
        return {}
    return value if isinstance(value, dict) else {}
