"""Batches of a training, its measured batch norms, and its final and best weights."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from torch import nn

from videokd.data.batch import ClipBatch
from videokd.data.build import build_train_loader
from videokd.distill.tasks import to_float
from videokd.engine.checkpoint import find_damage, load_weights, save_weights
from videokd.engine.disk import naming_failures
from videokd.engine.metrics_log import find_best, read_metrics
from videokd.engine.precise_norms import recompute_statistics
from videokd.pipeline.run import Run
from videokd.pipeline.training import Training
from videokd.utils.class_names import ClassNames

logger = logging.getLogger(__name__)

_BEST_NAME = "best.safetensors"


def make_loader(
    run: Run, training: Training, num_steps: int
) -> Callable[[int], Generator[ClipBatch, None, None]]:
    """Return a function from a step of a training to the batches from that step on.

    Args:
        run: The run.
        training: A training of the run's plan.
        num_steps: Number of steps to load.
    """
    return build_train_loader(
        run.cfg,
        [run.datasets[name] for name in training.trained_on],
        clips=training.task_clips or training.clips,
        num_steps=num_steps,
        workers=run.loader_workers,
    )


def measure_norms(run: Run, training: Training, model: nn.Module) -> None:
    """Recompute the batch norm statistics of a model over SOLVER.PRECISE_BN_BATCHES batches.

    Clips are augmented as in training, without mixup. They are always the first clips of the
    training, so an interrupted training ends with the same statistics as an uninterrupted one.
    Each rank loads its share of every batch. With 0 batches nothing is changed.

    Args:
        run: The run.
        training: The training whose clips are used.
        model: The model, on the run's device.

    Raises:
        Stopped: A signal arrived.
    """
    num_batches = run.cfg.SOLVER.PRECISE_BN_BATCHES
    if not num_batches:
        return
    with closing(make_loader(run, training, num_batches)(0)) as batches:
        shares = (run.ranks.share_step(batch) for batch in _checking_for_stops(run, batches))
        on_device = (share.batch.to(run.device) for share in shares if share.is_usable)
        clips = (to_float(batch.clips) for batch in on_device)
        num_norms = recompute_statistics(model, clips, run.ranks)
    logger.debug("%s: measured %d batch norms", training.folder, num_norms)


def save_final_weights(
    run: Run, training: Training, model: nn.Module, class_names: ClassNames
) -> dict[str, Any]:
    """Write ``model.safetensors``, and ``best.safetensors`` unless the last weights are the best.

    All ranks must call this function; the first chooses and writes.

    Args:
        run: The run.
        training: The training, with all its steps done and its checkpoints in place.
        model: The trained model; its weights are the same again on return.
        class_names: Class names of the model's classifiers, stored with the weights.

    Returns:
        The entry ``best`` of ``training.json`` with ``step`` and ``val_top1`` (percent, mean over
        the datasets). Empty if the last weights are the best or no weights were validated.

    Raises:
        RunError: A file cannot be written.
        Stopped: A signal arrived.
    """
    folder = run.plan.path(training)
    if run.ranks.is_first:
        _save(folder / "model.safetensors", model, class_names)
    run.ranks.wait()
    # The first rank decides for all: other ranks may still see an older state of a file just
    # written.
    best = run.ranks.broadcast(_choose(folder, training.num_steps) if run.ranks.is_first else None)
    if best is None:
        return {}
    step, score = best
    checkpoint = folder / "checkpoints" / f"step-{step}"
    average = checkpoint / "average.safetensors"
    load_weights(model, average if average.exists() else checkpoint / "model.safetensors")
    measure_norms(run, training, model)
    if run.ranks.is_first:
        _save(folder / _BEST_NAME, model, class_names)
    load_weights(model, folder / "model.safetensors")
    run.ranks.wait()  # all ranks have read the checkpoint
    return {"best": {"step": step, "val_top1": score}}


def _save(path: Path, model: nn.Module, class_names: ClassNames) -> None:
    with naming_failures(path):
        save_weights(path, model.state_dict(), class_names)


def _checking_for_stops(run: Run, batches: Iterable[ClipBatch]) -> Iterator[ClipBatch]:
    """Yield batches; raise Stopped on all ranks before the next one after a signal to any rank."""
    for batch in batches:
        run.raise_if_stopped()
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
