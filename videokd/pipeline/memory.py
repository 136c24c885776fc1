"""Advice and a memory breakdown for a step that does not fit into the device's memory."""

import gc
from collections.abc import Mapping

import torch
from fvcore.common.config import CfgNode
from rich.console import Console
from rich.table import Table

from videokd.pipeline.rehearsal import StepCost, rehearse
from videokd.pipeline.training import Training
from videokd.utils.env import device_memory_bytes
from videokd.utils.errors import RunError

GIB = 2**30


def count_clips_at_once(cfg: CfgNode) -> int:
    """Return the number of clips in one forward: the largest part of a step."""
    return int(-(-cfg.TRAIN.BATCH_SIZE // cfg.TRAIN.ACCUMULATE))


def advise(num_clips: int) -> str:
    """Return advice for a step that fits ``num_clips`` clips; 0 if the weights alone do not fit."""
    smaller = "or the size of their clips; PRECISION bf16 and CHECKPOINT_ACTIVATIONS help, too"
    if num_clips < 2:
        return f"lower the size of the networks, {smaller}"
    return (
        f"lower TRAIN.BATCH_SIZE to {num_clips} or less, or raise TRAIN.ACCUMULATE until no more "
        f"than {num_clips} clips are taken at once, {smaller}"
    )


def explain_out_of_memory(
    training: Training,
    cfg: CfgNode,
    console: Console,
    *,
    device: torch.device,
    classes: Mapping[str, int],
) -> RunError:
    """Return the error of a training that ran out of memory, and print its memory breakdown.

    Call this after the training's tensors are freed: it runs a small step to measure the memory per
    clip.

    Args:
        training: The training.
        cfg: The whole config.
        console: Console of the table.
        device: Device of the training.
        classes: Dataset name -> number of its classes.
    """
    num_clips, memory = count_clips_at_once(cfg), device_memory_bytes(device)
    title = (
        f"{training.folder}: {device} is out of memory ({memory / GIB:.1f} GiB) "
        f"with {num_clips} clips"
    )
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        cost = rehearse(
            training, num_classes=classes, device=device, optimizer=cfg.SOLVER.OPTIMIZER
        )
    except RuntimeError:  # even the small step fails: another process may hold the memory
        return RunError(f"{title}, and so it is with two: {advise(0)}")
    console.print(_memory_table(cost, num_clips, f"Memory of a step of {training.folder}"))
    # The step did not fit, even if the estimate claims that it does.
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
