"""Precise batch norms: statistics recomputed over training clips (SOLVER.PRECISE_BN_BATCHES)."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

import torch
from torch import nn

from videokd.data.batch import ClipBatch
from videokd.distill.tasks import to_float
from videokd.engine.distributed import ONE_RANK, Ranks
from videokd.engine.precise_norms import recompute_statistics
from videokd.models.classifier import map_clips

logger = logging.getLogger(__name__)


def measure_norms(
    model: nn.Module,
    make_loader: Callable[[int], Generator[ClipBatch, None, None]],
    device: torch.device,
    name: str,
    raise_if_stopped: Callable[[], None],
    ranks: Ranks = ONE_RANK,
) -> None:
    """Recompute the batch norm statistics of a model over all batches of a loader.

    Clips are augmented as in training, without mixup. They are always the first clips of the
    training, so an interrupted training ends with the same statistics as an uninterrupted one.

    Args:
        model: The model, on ``device``.
        make_loader: Function from the first step to the batches from that step on.
        device: Device of the model.
        name: Name for the log.
        raise_if_stopped: Called before every batch; raises ``Stopped`` on all ranks or on none.
        ranks: Ranks that each load a part of every batch.

    Raises:
        Stopped: A signal arrived.
    """
    with closing(make_loader(0)) as batches:
        parts = (ranks.share_step(batch) for batch in _asking(raise_if_stopped, batches))
        on_device = (part.batch.to(device) for part in parts if part.is_usable)
        clips = (map_clips(to_float, batch.all_clips) for batch in on_device)
        num_norms = recompute_statistics(model, clips, ranks)
    logger.debug("%s: measured %d batch norms", name, num_norms)


def _asking(
    raise_if_stopped: Callable[[], None], batches: Iterable[ClipBatch]
) -> Iterator[ClipBatch]:
    for batch in batches:
        raise_if_stopped()
        yield batch
