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
from videokd.models.classifier import Clips, map_clips
from videokd.pipeline.run import Run
from videokd.pipeline.unit import Unit
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


def extract_features(run: Run, unit: Unit, dataset: str, part: str) -> PooledFeatures:
    """Return a trained unit's features of one centre view of every video of a split.

    The features are stored in ``reading`` of the run directory, under a hash of the unit's
    fingerprint and the list of videos.

    Args:
        run: The run.
        unit: A trained unit; its classifier is not used, so ``dataset`` may be another dataset.
        dataset: Name of the dataset.
        part: "train", "val" or "test".

    Raises:
        InputError: The unit is not trained, or no video can be read.
        Stopped: A signal arrived.
    """
    key = sha256_json([unit.fingerprint, run.datasets[dataset].index(part).digest()])
    path = run.folder / "reading" / f"{dataset}-{part}-{key[:16]}.npz"
    if not path.exists():
        logger.info("features of %s on %s %s", unit.folder, dataset, part)
        _write(path, _compute(run, unit, dataset, part))
    return _read(path)


def _compute(run: Run, unit: Unit, dataset: str, part: str) -> PooledFeatures:
    model = run.plan.load_model(unit).to(run.device).eval()
    levels: dict[str, list[Tensor]] = {}
    labels = []
    with closing(_load_views(run, unit, dataset, part)) as batches:
        for batch in batches:
            run.stop.raise_if_set()
            if len(batch):
                labels.append(batch.labels)
                clips = map_clips(lambda x: x.to(run.device).float() / 255, batch.all_clips)
                for level, value in _pool(model, clips).items():
                    levels.setdefault(level, []).append(value.cpu())
    if not labels:
        raise InputError(f"{dataset} {part}: no video can be read; check DATASETS.{dataset}.ROOT")
    joined = {level: torch.cat(values).numpy() for level, values in levels.items()}
    return PooledFeatures(joined, torch.cat(labels).numpy())


def _load_views(run: Run, unit: Unit, dataset: str, part: str) -> Generator[ViewBatch, None, None]:
    return build_view_loader(
        run.cfg,
        run.datasets[dataset],
        part,
        clips=unit.clips,
        views=ViewPlan(1, 1, SEGMENT_CENTRES),
        place=run.loader_place,
    )


@torch.inference_mode()
def _pool(model: nn.Module, clips: Clips) -> dict[str, Tensor]:
    """Return level -> (B, C) for clips (B, 3, T, H, W) in [0, 1], one view per video."""
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
