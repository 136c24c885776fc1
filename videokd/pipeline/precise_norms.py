"""Batch norms measured anew over training clips, as SOLVER.PRECISE_BN_BATCHES asks for."""

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
    """Measure the batch norms of a model over all batches of a loader.

    Clips are augmented as in training, and not mixed. They are the first of the training, whenever
    this is called: a training that was cut off ends with the numbers of one that was not.

    Args:
        model: On ``device``.
        make_loader: First step -> the batches from there on.
        device: Where the model is.
        name: For the log.
        raise_if_stopped: Called before every batch; raises ``Stopped`` on all ranks or on none.
        ranks: Processes whose loaders give a part of each batch.

    Raises:
        Stopped: A signal came.
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
