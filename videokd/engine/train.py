"""The training loop of every stage: experts, joint teacher, students and baselines."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from videokd.data.batch import BadVideo, ClipBatch
from videokd.engine.averaging import WeightAverage
from videokd.engine.bad_videos import BadVideoList
from videokd.engine.checkpoint import Checkpoint, CheckpointFolder, load_newest_checkpoint
from videokd.engine.checkpoint_writer import CheckpointWriter
from videokd.engine.meters import Meters
from videokd.engine.optim import scale_lr
from videokd.engine.schedule import Schedule
from videokd.engine.stop import Stopped, StopRequest
from videokd.engine.task import StepOutput
from videokd.engine.watch import Watch
from videokd.utils.errors import InputError, RunError

logger = logging.getLogger(__name__)

_VideoKey = tuple[int, str]  # dataset id, path

_BAD_VIDEOS_NAME = "bad_videos.csv"
_LOG_NAME = "metrics.jsonl"
_CHECKPOINTS = "checkpoints"

_LESS_LEARNING = "try a lower SOLVER.BASE_LR or SOLVER.CLIP_GRAD_NORM 1.0"


@dataclass(frozen=True)
class TrainSettings:
    """How long and how a task is trained."""

    num_steps: int
    base_lr: float
    warmup_steps: float
    """Steps that the rate rises; at most half of ``num_steps`` is used."""
    clip_grad_norm: float
    """Largest L2 norm of the gradient; 0 = no clipping."""
    seed: int
    log_period: int
    """Steps between lines of the log."""
    eval_period: int
    """Steps between evaluations; 0 = never."""
    checkpoint_period_sec: float
    num_checkpoints: int
    """The newest so many are kept, and the one of the best evaluation."""
    max_bad_videos: int
    """Unreadable videos that are put up with before the run stops."""
    dataset_names: tuple[str, ...]
    """By dataset id, for the list of unreadable videos."""
    schedule: Schedule = Schedule()
    """How the learning rate moves."""


@dataclass(frozen=True)
class Learner:
    """What a training changes and a checkpoint holds."""

    task: nn.Module
    """(batch, progress) -> StepOutput, see ``videokd.engine.task``; on its device already."""
    optimizer: torch.optim.Optimizer
    """Over the task's trainable parameters."""
    average: WeightAverage | None = None
    """Of the task's model, when an average is wanted; ``average.module`` is the result then."""


class ProgressBar(Protocol):
    """What the loop tells the terminal."""

    def update(self, step: int, text: str) -> None:
        """Show that ``step`` steps are done."""


def train(
    learner: Learner,
    make_loader: Callable[[int], Iterator[ClipBatch]],
    *,
    settings: TrainSettings,
    folder: Path,
    evaluate: Callable[[], dict[str, float]],
    stop: StopRequest,
    progress: ProgressBar,
    watch: Watch | None = None,
) -> None:
    """Train to ``settings.num_steps`` steps, going on from a checkpoint when there is one.

    What happens at a step depends on (seed, step) only, so that a run that was stopped ends with
    the weights of one that was not.

    Args:
        learner: What is trained.
        make_loader: First step -> the batches from there on.
        settings: Lengths, rates and periods.
        folder: Where ``metrics.jsonl``, ``bad_videos.csv`` and ``checkpoints/`` are kept.
        evaluate: Called every ``eval_period`` steps; returns numbers for the log.
        stop: Asked after every step.
        progress: Told after every step.
        watch: Told too; entered already.

    Raises:
        Stopped: A signal came; the checkpoint is written.
        RunError: Loss or weights are not finite, more than ``max_bad_videos`` are unreadable, or a
            checkpoint cannot be written.
        InputError: The checkpoint has a weight average and the learner has none, or the reverse.
    """
    checkpoints = CheckpointFolder(
        folder / _CHECKPOINTS, num_kept=settings.num_checkpoints, log=folder / _LOG_NAME
    )
    watch = watch or Watch(folder, folder.name, device=next(learner.task.parameters()).device)
    with CheckpointWriter(checkpoints) as writer:
        _train(
            learner,
            make_loader,
            writer,
            settings=settings,
            watch=watch,
            evaluate=evaluate,
            stop=stop,
            progress=progress,
        )


def _train(
    learner: Learner,
    make_loader: Callable[[int], Iterator[ClipBatch]],
    writer: CheckpointWriter,
    *,
    settings: TrainSettings,
    watch: Watch,
    evaluate: Callable[[], dict[str, float]],
    stop: StopRequest,
    progress: ProgressBar,
) -> None:
    task = learner.task
    device = next(task.parameters()).device
    meters = Meters(device, watch.clock)
    step, bad = _resume(learner, meters, watch.folder)
    log = watch.begin(step)
    bad_list = BadVideoList(watch.folder / _BAD_VIDEOS_NAME, settings.dataset_names)
    loader, last_save = make_loader(step), time.monotonic()
    task.train()
    # A loss is read, which waits for the device, at every step where that costs nothing.
    check_period = 1 if device.type == "cpu" else settings.log_period

    while step < settings.num_steps:
        writer.raise_if_failed()
        with meters.data_wait():
            batch = next(loader)
        _note_bad(bad, batch.bad, bad_list, step=step + 1, limit=settings.max_bad_videos)
        # Random layers draw from (seed, step), not from what was drawn before.
        torch.manual_seed(settings.seed * 1_000_003 + step)
        lr = _set_lr(learner.optimizer, settings, step)
        if len(batch) > 1:  # batch norm needs two; smaller batches come from unreadable videos
            batch = batch.to(device, non_blocking=True)
            output = task(batch, step / settings.num_steps)
            if (step + 1) % check_period == 0:
                _check_finite(output, batch, step=step, lr=lr)
            meters.add_norm(_update(learner, output.loss, settings.clip_grad_norm))
            meters.add(output, len(batch))
        step += 1
        watch.after(step)

        is_last = step == settings.num_steps
        if step % settings.log_period == 0 or is_last:
            line = meters.summarise() | {"eta_sec": watch.eta_sec(step, settings.num_steps)}
            log.write({"step": step, "lr": lr, "bad_videos": len(bad), **line})
            progress.update(step, Meters.describe(line))
        else:
            progress.update(step, "")
        if settings.eval_period and (step % settings.eval_period == 0 or is_last):
            with meters.paused():
                log.write({"step": step, **evaluate()})
            task.train()
        is_due = time.monotonic() - last_save > settings.checkpoint_period_sec
        is_due |= log.best_step == step
        must_stop = stop.is_set  # asked once: a signal between two questions would skip the save
        if is_due or is_last or must_stop:
            state = {"step": step, "bad_videos": sorted(bad), "meters": meters.state()}
            with meters.paused():
                _check_weights(task, step)
                writer.save(_snapshot(learner, state), best_step=log.best_step)
            last_save = time.monotonic()
        if must_stop and not is_last:
            writer.wait()
            raise Stopped


def _snapshot(learner: Learner, state: dict[str, Any]) -> Checkpoint:
    weights, momenta = learner.task.state_dict(), learner.optimizer.state_dict()
    if learner.average is None:
        return Checkpoint(weights, momenta, state)
    state = {**state, "num_averaged": learner.average.num_updates}
    return Checkpoint(weights, momenta, state, learner.average.module.state_dict())


def _resume(learner: Learner, meters: Meters, folder: Path) -> tuple[int, set[_VideoKey]]:
    checkpoint = load_newest_checkpoint(folder / _CHECKPOINTS)
    if checkpoint is None:
        return 0, set()
    if (learner.average is None) != (checkpoint.average is None):
        owner = "the checkpoint has" if learner.average is None else "this training has"
        raise InputError(
            f"{folder}: only {owner} an average of the weights; go on with the settings that the "
            "training began with, or begin in another folder"
        )
    learner.task.load_state_dict(checkpoint.model)
    learner.optimizer.load_state_dict(checkpoint.optimizer)
    if learner.average is not None and checkpoint.average is not None:
        num_updates = checkpoint.state["num_averaged"]
        learner.average.load(checkpoint.average, num_updates=num_updates)
    meters.load_state(checkpoint.state["meters"])
    step = checkpoint.state["step"]
    logger.info("%s: going on at step %d", folder, step)
    return step, {(dataset_id, path) for dataset_id, path in checkpoint.state["bad_videos"]}


def _set_lr(optimizer: torch.optim.Optimizer, settings: TrainSettings, step: int) -> float:
    lr = settings.schedule.lr_of_step(
        step,
        num_steps=settings.num_steps,
        base_lr=settings.base_lr,
        warmup_steps=settings.warmup_steps,
    )
    scale_lr(optimizer, lr)
    return lr


def _update(learner: Learner, loss: Tensor, clip_grad_norm: float) -> Tensor:
    """Do a step of the optimizer; return the gradient's L2 norm before clipping."""
    learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip_grad_norm > 0:
        norm = nn.utils.clip_grad_norm_(learner.task.parameters(), clip_grad_norm)
    else:
        gradients = [p.grad for p in learner.task.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
    learner.optimizer.step()
    if learner.average is not None:
        learner.average.update()
    return norm


def _note_bad(
    seen: set[_VideoKey], new: tuple[BadVideo, ...], known: BadVideoList, *, step: int, limit: int
) -> None:
    for video in new:
        known.add(video, step)
        # Two datasets may have files of one name.
        if (video.dataset_id, video.path) not in seen:
            logger.warning("skipped an unreadable video: %s: %s", video.path, video.cause)
            seen.add((video.dataset_id, video.path))
    if len(seen) > limit:
        first = ", ".join(path for _, path in sorted(seen)[:3])
        raise RunError(
            f"{len(seen)} unreadable videos, more than the {limit} allowed by "
            f"DATA.MAX_BAD_FRACTION; first: {first}; all are in {_BAD_VIDEOS_NAME} beside the "
            "training's log: mend or remove them, or allow more"
        )


def _check_weights(task: nn.Module, step: int) -> None:
    # The loss is not read at every step on a GPU, and a bad gradient can follow a finite loss: no
    # checkpoint may hold what a run could never go on from. Norm statistics count as weights.
    for name, weight in task.state_dict().items():
        if not torch.isfinite(weight).all():
            raise RunError(f"weight {name} is not finite after {step} steps; {_LESS_LEARNING}")


def _check_finite(output: StepOutput, batch: ClipBatch, *, step: int, lr: float) -> None:
    if torch.isfinite(output.loss):
        return
    terms = ", ".join(f"{name} {value.item():g}" for name, value in output.terms.items())
    raise RunError(
        f"the loss is {output.loss.item()} at step {step}, learning rate {lr:g}: {terms}; "
        f"dataset ids {batch.dataset_ids.tolist()}, record ids {batch.record_ids.tolist()}; "
        f"{_LESS_LEARNING}"
    )
