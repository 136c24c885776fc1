"""Pooled features of whole splits, stored on disk as the input of a study's feature analysis."""

import io
import logging
from collections.abc import Generator
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
from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_bytes, sha256_json

logger = logging.getLogger(__name__)

EMBEDDING = "embedding"
_LABELS = "labels"


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
