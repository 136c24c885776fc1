"""``best.safetensors``: weights with the best validation score, if they are not the last ones."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from videokd.engine.checkpoint import find_damage, load_weights, save_weights
from videokd.engine.disk import naming_failures
from videokd.engine.distributed import ONE_RANK, Ranks
from videokd.engine.metrics_log import find_best, read_metrics
from videokd.utils.class_names import ClassNames

logger = logging.getLogger(__name__)

_NAME = "best.safetensors"


def save_best(
    folder: Path,
    model: nn.Module,
    num_steps: int,
    measure: Callable[[nn.Module], None],
    *,
    class_names: ClassNames,
    ranks: Ranks = ONE_RANK,
) -> dict[str, Any]:
    """Write the weights of the best validation, unless it was at the last step.

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
        with naming_failures(folder / _NAME):
            save_weights(folder / _NAME, model.state_dict(), class_names)
    load_weights(model, folder / "model.safetensors")
    return {"best": {"step": step, "val_top1": score}}


def _choose(folder: Path, num_steps: int) -> tuple[int, float] | None:
    """Return step and score of the best validation; None if it needs no file or is damaged."""
    best = find_best(read_metrics(folder / "metrics.jsonl"))
    if best is None or best[0] == num_steps:
        return None
    checkpoint = folder / "checkpoints" / f"step-{best[0]}"
    damage = find_damage(checkpoint)
    if damage is not None:
        # A missing best.safetensors does not affect the results.
        logger.warning("%s: no %s, since %s is damaged (%s)", folder, _NAME, checkpoint, damage)
        return None
    return best
