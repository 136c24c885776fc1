"""What to lower where a step does not fit into the memory, and what is known of where it goes."""

import gc
from collections.abc import Mapping

import torch
from fvcore.common.config import CfgNode
from rich.console import Console
from rich.table import Table

from videokd.pipeline.rehearsal import StepCost, rehearse
from videokd.pipeline.unit import Unit
from videokd.utils.env import device_memory_bytes
from videokd.utils.errors import RunError

GIB = 2**30


def count_clips_at_once(cfg: CfgNode) -> int:
    """Return how many clips go through a network together: the largest part of a step."""
    return int(-(-cfg.TRAIN.BATCH_SIZE // cfg.TRAIN.ACCUMULATE))


def advise(num_clips: int) -> str:
    """Say what to do for ``num_clips`` at once; 0 where the weights alone are too much."""
    smaller = "or the size of their clips; PRECISION bf16 and CHECKPOINT_ACTIVATIONS help, too"
    if num_clips < 2:
        return f"lower the size of the networks, {smaller}"
    return (
        f"lower TRAIN.BATCH_SIZE to {num_clips} or less, or raise TRAIN.ACCUMULATE until no more "
        f"than {num_clips} clips are taken at once, {smaller}"
    )


def explain_out_of_memory(
    unit: Unit, cfg: CfgNode, console: Console, *, device: torch.device, classes: Mapping[str, int]
) -> RunError:
    """Return the error of a training whose step did not fit, and print where the memory goes.

    To be called when the training's own tensors are gone: a step of few clips is done again to see
    what each of them takes.

    Args:
        unit: The training.
        cfg: The whole config.
        console: For the table.
        device: Where it ran.
        classes: Dataset name -> number of its classes.
    """
    num_clips, memory = count_clips_at_once(cfg), device_memory_bytes(device)
    title = (
        f"{unit.folder}: {device} is out of memory ({memory / GIB:.1f} GiB) with {num_clips} clips"
    )
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        cost = rehearse(unit, num_classes=classes, device=device, optimizer=cfg.SOLVER.OPTIMIZER)
    except RuntimeError:  # not even those fit: another process may hold the rest
        return RunError(f"{title}, and so it is with two: {advise(0)}")
    console.print(_memory_table(cost, num_clips, f"Memory of a step of {unit.folder}"))
    # It did not fit, whatever the estimate says of it.
    fitting = min(cost.largest_batch(memory), num_clips - 1)
    return RunError(f"{title}: {advise(fitting)}")


def _memory_table(cost: StepCost, num_clips: int, title: str) -> Table:
    rows = {
        "weights that are trained, gradients, optimizer": cost.trained_bytes,
        "weights that are only looked at": cost.frozen_bytes,
        "weights in the precision of the step": cost.cast_bytes,
        f"kept of {num_clips} clips": num_clips * cost.kept_bytes_per_clip,
        "estimate of all, without what libraries keep": cost.memory_bytes(num_clips),
    }
    table = Table(title=title)
    table.add_column("of")
    table.add_column("GiB", justify="right")
    for name, num_bytes in rows.items():
        table.add_row(name, f"{num_bytes / GIB:.2f}")
    return table
