"""Multi-view test: the model scores every view of a video, and each view's scores are kept."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from videokd.data.batch import BadVideo
from videokd.data.test_views import ViewBatch
from videokd.evaluation.metrics import fuse_views, mean_class_accuracy, top_k_accuracy
from videokd.models.classifier import VideoModel

# Largest size of the uint8 clips in one forward: 13 views of 16 x 224 x 224.
_MAX_FORWARD_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model for the videos of one index."""

    logits: NDArray[np.float32]
    """(N, V, K): N readable videos, V views each."""
    labels: NDArray[np.int64]
    """(N,)"""
    record_ids: NDArray[np.int64]
    """(N,) positions in the index."""
    bad: tuple[BadVideo, ...]
    """Unreadable videos; they do not count in any score."""

    def scores(self) -> dict[str, float]:
        """Compute top1, top5 and mean_class_accuracy of the fused views, in percent; N > 0."""
        probs = fuse_views(self.logits)
        return {
            "top1": top_k_accuracy(probs, self.labels, 1),
            "top5": top_k_accuracy(probs, self.labels, 5),
            "mean_class_accuracy": mean_class_accuracy(probs, self.labels),
        }


def predict_views(
    model: nn.Module,
    dataset: str,
    batches: Iterable[ViewBatch],
    *,
    device: torch.device,
    after_batch: Callable[[int], None],
) -> Predictions:
    """Return the predictions of ``model`` in eval mode for all views.

    At most 32 MiB of uint8 clips (or one view) pass the network together.

    Args:
        model: Model that returns features of clips and has ``classify`` with a head for
            ``dataset``.
        dataset: Name of the dataset whose classes are scored.
        batches: Batches with the same number of views for every video, in all shapes that the model
            takes.
        device: Device of the model.
        after_batch: Called with the number of videos done.
    """
    model.eval()
    logits, labels, record_ids = [], [], []
    bad: list[BadVideo] = []
    num_done = 0
    for batch in batches:
        num_done += len(batch) + len(batch.bad)
        bad.extend(batch.bad)
        if len(batch):
            logits.append(_score(cast(VideoModel, model), dataset, batch, device))
            labels.append(batch.labels)
            record_ids.append(batch.record_ids)
        after_batch(num_done)
    return Predictions(
        torch.cat(logits).numpy() if logits else np.zeros((0, 0, 0), np.float32),
        torch.cat(labels).numpy() if labels else np.zeros(0, np.int64),
        torch.cat(record_ids).numpy() if record_ids else np.zeros(0, np.int64),
        tuple(bad),
    )


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Merge the predictions for parts of an index, in the order of the index."""
    if len(parts) == 1:
        return parts[0]
    filled = [part for part in parts if len(part.labels)] or parts[:1]
    record_ids = np.concatenate([part.record_ids for part in filled])
    order = np.argsort(record_ids)
    bad = [video for part in parts for video in part.bad]
    return Predictions(
        np.concatenate([part.logits for part in filled])[order],
        np.concatenate([part.labels for part in filled])[order],
        record_ids[order],
        tuple(sorted(bad, key=lambda video: video.record_id)),
    )


@torch.inference_mode()
def _score(model: VideoModel, dataset: str, batch: ViewBatch, device: torch.device) -> Tensor:
    logits = []
    num_bytes = sum(clips[0].nbytes for clips in batch.clips.values())
    for views in _split(int(batch.counts.sum()), num_bytes):
        clips = {
            name: each[views].to(device, non_blocking=True).float() / 255
            for name, each in batch.clips.items()
        }
        embedding = model(clips).embedding
        logits.append(model.classify(embedding, dataset).float().cpu())
    return torch.cat(logits).view(len(batch), -1, logits[0].shape[1])


def _split(num_views: int, num_bytes: int) -> list[slice]:
    """Split views into slices of nearly equal size that fit into one forward each."""
    num_parts = -(-num_views // max(1, _MAX_FORWARD_BYTES // num_bytes))
    size = -(-num_views // num_parts)
    return [slice(start, start + size) for start in range(0, num_views, size)]
