"""End of a training: measured batch norms (SOLVER.PRECISE_BN_BATCHES) and the best weights."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videokd.data.batch import ClipBatch
from videokd.distill.tasks import to_float
from videokd.engine.checkpoint import find_damage, load_weights, save_weights
from videokd.engine.disk import naming_failures
from videokd.engine.distributed import ONE_RANK, Ranks
from videokd.engine.metrics_log import find_best, read_metrics
from videokd.engine.precise_norms import recompute_statistics
from videokd.utils.class_names import ClassNames

logger = logging.getLogger(__name__)

_BEST_NAME = "best.safetensors"


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
        parts = (
            ranks.share_step(batch) for batch in _checking_for_stops(raise_if_stopped, batches)
        )
        on_device = (part.batch.to(device) for part in parts if part.is_usable)
        clips = (to_float(batch.clips) for batch in on_device)
        num_norms = recompute_statistics(model, clips, ranks)
    logger.debug("%s: measured %d batch norms", name, num_norms)


def save_best(
    folder: Path,
    model: nn.Module,
    num_steps: int,
    measure: Callable[[nn.Module], None],
    *,
    class_names: ClassNames,
    ranks: Ranks = ONE_RANK,
) -> dict[str, Any]:
    """Write ``best.safetensors``, the weights of the best validation, unless they are the last.

    Args:
        folder: Folder of a finished training, with ``model.safetensors`` and the checkpoints.
        model: The trained model; its weights are the same again on return.
        num_steps: Number of steps of the training.
        measure: Function that recomputes batch norms as before validation, see
            ``SOLVER.PRECISE_BN_BATCHES``.
        class_names: Class names of the model's classifiers, stored with the weights.
        ranks: All ranks must call this function; the first chooses and writes.

    Returns:
        The entry ``best`` of ``training.json`` with ``step`` and ``val_top1`` (percent, mean over
        the datasets). Empty if the last weights are the best or no weights were validated.

    Raises:
        RunError: The file cannot be written.
        Stopped: A signal arrived.
    """
    # The first rank decides for all: other ranks may still see an older state of a file just
    # written.
    best = ranks.broadcast(_choose(folder, num_steps) if ranks.is_first else None)
    if best is None:
        return {}
    step, score = best
    checkpoint = folder / "checkpoints" / f"step-{step}"
    average = checkpoint / "average.safetensors"
    load_weights(model, average if average.exists() else checkpoint / "model.safetensors")
    measure(model)
    if ranks.is_first:
        with naming_failures(folder / _BEST_NAME):
            save_weights(folder / _BEST_NAME, model.state_dict(), class_names)
    load_weights(model, folder / "model.safetensors")
    return {"best": {"step": step, "val_top1": score}}


def _checking_for_stops(
    raise_if_stopped: Callable[[], None], batches: Iterable[ClipBatch]
) -> Iterator[ClipBatch]:
    for batch in batches:
        raise_if_stopped()
        yield batch


def _choose(folder: Path, num_steps: int) -> tuple[int, float] | None:
    """Return step and score of the best validation; None if it needs no file or is damaged."""
    best = find_best(read_metrics(folder / "metrics.jsonl"))
    if best is None or best[0] == num_steps:
        return None
    checkpoint = folder / "checkpoints" / f"step-{best[0]}"
    damage = find_damage(checkpoint)
    if damage is not None:
        # A missing best.safetensors does not affect the results.
        logger.warning(
            "%s: no %s, since %s is damaged (%s)", folder, _BEST_NAME, checkpoint, damage
        )
        return None
    return best
