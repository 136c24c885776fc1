"""``best.safetensors``: the weights that did best in validation, where those are not the last."""

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
    """Write the weights of the best validation, if it was before the last step.

    Args:
        folder: Of a training that has ended, with its ``model.safetensors`` and its checkpoints.
        model: Whose weights those are; it has them again afterwards.
        num_steps: Of the training.
        measure: Makes of weights what was validated, see ``SOLVER.PRECISE_BN_BATCHES``.
        class_names: Of the model's classifiers, kept with the weights.
        ranks: Processes that call it alike; the first chooses and writes.

    Returns:
        For ``training.json``: ``best``, with its ``step`` and ``val_top1``, percent, mean over the
        datasets; or nothing, where the last weights are the best or none were validated.

    Raises:
        RunError: They cannot be written.
        Stopped: A signal came.
    """
    # What the others see of a file that was written just now may be older.
    best = ranks.first_says(_choose(folder, num_steps) if ranks.is_first else None)
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
    """Return step and score of the best validation, if its checkpoint is worth a file."""
    best = find_best(read_metrics(folder / "metrics.jsonl"))
    if best is None or best[0] == num_steps:
        return None
    checkpoint = folder / "checkpoints" / f"step-{best[0]}"
    damage = find_damage(checkpoint)
    if damage is not None:
        # The result does not depend on it.
        logger.warning("%s: no %s, since %s is damaged (%s)", folder, _NAME, checkpoint, damage)
        return None
    return best
