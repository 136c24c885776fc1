"""Networks of the feature analysis: their trainings, stored scores and pooled features."""

import io
import logging
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from videokd.data.build import build_view_loader
from videokd.data.sampling import SEGMENT_CENTRES
from videokd.data.test_views import ViewBatch, ViewPlan
from videokd.distill.tasks import to_float
from videokd.models.classifier import Clips
from videokd.pipeline.run import Run
from videokd.pipeline.training import Training
from videokd.report.results import Scored, read_scores
from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_bytes, sha256_json

TITLES = {"experts": "expert", "joint": "T*", "students": "student", "B1": "B1"}
# Rows of a student and of the same network trained alone.
STUDENT_KEYS = ("students", "B1")
EMBEDDING = "embedding"
_LABELS = "labels"

Scores = dict[str, dict[str, list[Scored]]]
"""Dataset -> key of ``TITLES`` -> scores of each seed."""


def find_trainings(run: Run) -> dict[str, dict[str, Training]]:
    """Return key of ``TITLES`` -> dataset -> training.

    Args:
        run: The run; B1 is left out if the run does not train it.
    """
    return {key: run.plan.row(key) for key in TITLES if key in run.plan.rows}


def read_all_scores(runs: Mapping[int, Run]) -> Scores:
    """Read the predictions of T*, students and B1 on the test splits, averaged over views.

    Args:
        runs: Seed -> run.

    Raises:
        InputError: A network is not scored, or is scored on other videos than the rest.
    """
    scores: Scores = {}
    for run in runs.values():
        for key, trainings in find_trainings(run).items():
            if key == "experts":
                continue
            for name, training in trainings.items():
                found = _read_test_scores(run, training, name)
                scores.setdefault(name, {}).setdefault(key, []).append(found)
    for name, of_dataset in scores.items():
        videos = {scored.paths for of_key in of_dataset.values() for scored in of_key}
        if len(videos) > 1:
            raise InputError(
                f"{name}: the models are scored on {len(videos)} different sets of test videos; "
                "score them all anew on one"
            )
    return scores


def describe_fused_students(run: Run) -> str:
    """Return a sentence that names the datasets whose B1 is an expert of T*; "" for none."""
    trainings = find_trainings(run)
    names = [
        name
        for name, training in trainings.get("B1", {}).items()
        if training.fingerprint in {expert.fingerprint for expert in trainings["joint"][name].needs}
    ]
    if not names:
        return ""
    return f" B1 of {', '.join(names)} is the very expert that T* fuses: there T* takes after B1."


def _read_test_scores(run: Run, training: Training, name: str) -> Scored:
    folder = run.plan.path(training)
    found = read_scores(folder, name)
    if found is None:
        raise InputError(
            f"{folder} ({training.folder}) has no scores of the test split of {name}; run "
            "train_net.py --stage test, or run_study.py --split test, first"
        )
    return found


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PooledFeatures:
    """Pooled features of the N readable videos of a split, in the order of its index."""

    levels: dict[str, NDArray[np.float32]]
    """Level name -> (N, C), means over T, H and W; and "embedding" -> (N, D)."""
    labels: NDArray[np.int64]
    """(N,)"""


def extract_features(run: Run, training: Training, dataset: str, split: str) -> PooledFeatures:
    """Return a trained model's features of one centre view of every video of a split.

    The features are stored in ``analysis`` of the run directory, under a hash of the training's
    fingerprint and the list of videos.

    Args:
        run: The run.
        training: A finished training. Its classifier is unused: any ``dataset`` will do.
        dataset: Name of the dataset.
        split: "train", "val" or "test".

    Raises:
        InputError: The training is not finished, or no video can be read.
        Stopped: A signal arrived.
    """
    key = sha256_json([training.fingerprint, run.datasets[dataset].index(split).digest()])
    path = run.folder / "analysis" / f"{dataset}-{split}-{key[:16]}.npz"
    if not path.exists():
        logger.info("features of %s on %s %s", training.folder, dataset, split)
        _write(path, _compute(run, training, dataset, split))
    return _read(path)


def _compute(run: Run, training: Training, dataset: str, split: str) -> PooledFeatures:
    model = run.plan.load_model(training).to(run.device).eval()
    levels: dict[str, list[Tensor]] = {}
    labels = []
    with closing(_load_views(run, training, dataset, split)) as batches:
        for batch in batches:
            run.stop.raise_if_set()
            if len(batch):
                labels.append(batch.labels)
                clips = to_float({n: x.to(run.device) for n, x in batch.clips.items()})
                for level, value in _pool(model, clips).items():
                    levels.setdefault(level, []).append(value.cpu())
    if not labels:
        raise InputError(f"{dataset} {split}: no video can be read; check DATASETS.{dataset}.ROOT")
    joined = {level: torch.cat(values).numpy() for level, values in levels.items()}
    return PooledFeatures(joined, torch.cat(labels).numpy())


def _load_views(
    run: Run, training: Training, dataset: str, split: str
) -> Generator[ViewBatch, None, None]:
    return build_view_loader(
        run.cfg,
        run.datasets[dataset],
        split,
        clips=training.clips,
        views=ViewPlan(1, 1, SEGMENT_CENTRES),
        workers=run.loader_workers,
    )


@torch.inference_mode()
def _pool(model: nn.Module, clips: Clips) -> dict[str, Tensor]:
    """Return level -> (B, C) for one view per video."""
    features = model(clips)
    # Averaging in bfloat16 would round the means.
    pooled = {level: x.float().mean(dim=(2, 3, 4)) for level, x in features.levels.items()}
    return {**pooled, EMBEDDING: features.embedding.float()}


def _write(path: Path, features: PooledFeatures) -> None:
    arrays: dict[str, Any] = {**features.levels, _LABELS: features.labels}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    atomic_write_bytes(path, buffer.getvalue())


def _read(path: Path) -> PooledFeatures:
    with np.load(path, allow_pickle=False) as arrays:
        levels = {name: arrays[name] for name in arrays.files if name != _LABELS}
        return PooledFeatures(levels, arrays[_LABELS])
