"""Training loop of all stages: experts, joint teacher, students and baselines."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from videokd.data.batch import BadVideo, ClipBatch
from videokd.engine.bad_videos import BadVideoList
from videokd.engine.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    load_newest_checkpoint,
)
from videokd.engine.checkpoint_writer import CheckpointWriter
from videokd.engine.guard import LESS_LEARNING
from videokd.engine.meters import Meters
from videokd.engine.optim import load_momenta, scale_lr
from videokd.engine.schedule import Schedule
from videokd.engine.stop import Stopped, StopRequest
from videokd.engine.update import Learner, Update
from videokd.engine.watch import Watch
from videokd.utils.errors import InputError, RunError

logger = logging.getLogger(__name__)

_VideoKey = tuple[int, str]  # dataset id, path

_BAD_VIDEOS_NAME = "bad_videos.csv"
_LOG_NAME = "metrics.jsonl"
_CHECKPOINTS = "checkpoints"
# Key in the state of a checkpoint that was saved before its evaluation, because of a signal.
_OWED = "owes_evaluation"


@dataclass(frozen=True)
class TrainSettings:
    """Length, rates and periods of a training."""

    num_steps: int
    base_lr: float
    warmup_steps: float
    """Steps in which the rate rises; at most half of ``num_steps`` is used."""
    clip_grad_norm: float
    """Largest L2 norm of the gradient; 0 = no clipping."""
    seed: int
    log_period: int
    """Steps between lines of the log."""
    eval_period: int
    """Steps between evaluations; 0 = never."""
    checkpoint_period_sec: float
    num_checkpoints: int
    """Number of newest checkpoints to keep, besides the one of the best evaluation."""
    max_bad_videos: int
    """Largest number of unreadable videos before the run stops."""
    dataset_names: tuple[str, ...]
    """Dataset names by dataset id, for the list of unreadable videos."""
    schedule: Schedule = Schedule()
    """Learning rate policy."""
    num_parts: int = 1
    """Number of parts (micro-batches) into which the clips of a step are split."""
    max_skipped: int = 0
    """Non-finite steps in a row that may be skipped; 0 stops at the first."""


class ProgressBar(Protocol):
    """Interface of the loop to a progress bar in the terminal."""

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
    """Train to ``settings.num_steps`` steps, resuming from a checkpoint when there is one.

    Each step depends only on (seed, step) and the number of ranks, so that a stopped and resumed
    run ends with the weights of an uninterrupted one.

    Args:
        learner: Task, optimizer and ranks of the training; rank 0 writes. A step in which some rank
            has fewer than two readable clips changes nothing.
        make_loader: First step -> this rank's part of the batches from that step on.
        settings: Lengths, rates and periods.
        folder: Folder of ``metrics.jsonl``, ``bad_videos.csv`` and ``checkpoints/``.
        evaluate: Called every ``eval_period`` steps; returns numbers for the log. If it raises
            ``Stopped``, it is called again before the resumed training continues.
        stop: Stop request, checked after every step.
        progress: Progress bar, updated after every step.
        watch: Observers of the training, already entered; None for one without loggers.

    Raises:
        Stopped: A signal came; the checkpoint is written.
        RunError: More than ``max_skipped`` steps in a row were not finite; more than
            ``max_bad_videos`` videos are unreadable; or a checkpoint cannot be written.
        InputError: Only one of the checkpoint and the learner has a weight average, or the ranks do
            not see the same checkpoints.
    """
    ranks = learner.ranks
    checkpoints = CheckpointFolder(
        folder / _CHECKPOINTS, num_kept=settings.num_checkpoints, log=folder / _LOG_NAME
    )
    device = next(learner.task.parameters()).device
    watch = watch or Watch(folder, folder.name, device=device, is_silent=not ranks.is_first)

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
    task, ranks = learner.task, learner.ranks
    device = next(task.parameters()).device
    meters = Meters(device, watch.clock, ranks)
    update = Update(
        learner,
        meters,
        clip_grad_norm=settings.clip_grad_norm,
        num_parts=settings.num_parts,
        max_skipped=settings.max_skipped,
    )
    step, bad, owes_evaluation = _resume(learner, meters, update, watch.folder)
    log = watch.begin(step, is_evaluated=not owes_evaluation)
    bad_path = watch.folder / _BAD_VIDEOS_NAME
    bad_list = BadVideoList(bad_path, settings.dataset_names, is_silent=not ranks.is_first)
    if owes_evaluation:
        with meters.paused():
            log.write({"step": step, **evaluate()})
    loader, last_save = make_loader(step), time.monotonic()
    task.train()

    while step < settings.num_steps:
        writer.raise_if_failed()
        with meters.data_wait():
            part = ranks.share_step(next(loader))
        _note_bad(bad, part.bad, bad_list, step=step + 1, limit=settings.max_bad_videos)
        ranks.seed_step(settings.seed, step)
        lr = _set_lr(learner.optimizer, settings, step)
        if part.is_usable:  # unreadable videos make batches smaller
            batch = part.batch.to(device, non_blocking=True)
            update(batch, step / settings.num_steps, step=step, lr=lr)
        step += 1
        watch.after(step)

        is_last = step == settings.num_steps
        if step % settings.log_period == 0 or is_last:
            update.read_flags()
            line = meters.summarise() | {"eta_sec": watch.eta_sec(step, settings.num_steps)}
            counts = {"bad_videos": len(bad), "skipped_steps": update.guard.num_skipped}
            log.write({"step": step, "lr": lr, **counts, **line})
            progress.update(step, Meters.describe(line))
        else:
            progress.update(step, "")
        is_due = time.monotonic() - last_save > settings.checkpoint_period_sec
        # Both flags are read once: a signal between two reads would skip the save.
        is_due, must_stop = ranks.any(is_due, stop.is_set)
        owes_evaluation = settings.eval_period > 0 and (step % settings.eval_period == 0 or is_last)
        if owes_evaluation and not must_stop:
            with meters.paused(), suppress(Stopped):
                log.write({"step": step, **evaluate()})
                owes_evaluation = False
            task.train()
            is_due |= ranks.broadcast(log.best_step == step)
        must_stop |= owes_evaluation
        if is_due or is_last or must_stop:
            update.read_flags()
            state = {"step": step, "bad_videos": sorted(bad), "meters": meters.state()}
            state |= {"update": update.state()} | ({_OWED: True} if owes_evaluation else {})
            with meters.paused():
                _check_weights(learner, step)
                snapshot = _snapshot(learner, state)
                if ranks.is_first:
                    writer.save(snapshot, best_step=log.best_step)
            last_save = time.monotonic()
        if must_stop and (owes_evaluation or not is_last):
            writer.wait()
            ranks.wait()  # some launchers end all ranks when one ends
            raise Stopped


def _snapshot(learner: Learner, state: dict[str, Any]) -> Checkpoint:
    weights, momenta = learner.task.state_dict(), learner.optimizer.state_dict()
    if learner.average is None:
        return Checkpoint(weights, momenta, state)
    state = {**state, "num_averaged": learner.average.num_updates}
    return Checkpoint(weights, momenta, state, learner.average.module.state_dict())


def _resume(
    learner: Learner, meters: Meters, update: Update, folder: Path
) -> tuple[int, set[_VideoKey], bool]:
    learner.ranks.wait()  # rank 0 may still write a checkpoint
    checkpoint = load_newest_checkpoint(folder / _CHECKPOINTS)
    found = None if checkpoint is None else checkpoint.state["step"]
    learner.ranks.check_equal(found, f"steps done in {folder}")
    if checkpoint is None:
        return 0, set(), False
    if (learner.average is None) != (checkpoint.average is None):
        owner = "the checkpoint has" if learner.average is None else "this training has"
        raise InputError(
            f"{folder}: only {owner} an average of the weights; go on with the settings that the "
            "training began with, or begin in another folder"
        )
    learner.task.load_state_dict(checkpoint.model)
    load_momenta(learner.optimizer, checkpoint.optimizer)
    if learner.average is not None and checkpoint.average is not None:
        num_updates = checkpoint.state["num_averaged"]
        learner.average.load(checkpoint.average, num_updates=num_updates)
    meters.load_state(checkpoint.state["meters"])
    update.load_state(checkpoint.state["update"])
    step = checkpoint.state["step"]
    logger.info("%s: going on at step %d", folder, step)
    bad = {(dataset_id, path) for dataset_id, path in checkpoint.state["bad_videos"]}
    return step, bad, checkpoint.state.get(_OWED, False)


def _set_lr(optimizer: torch.optim.Optimizer, settings: TrainSettings, step: int) -> float:
    lr = settings.schedule.lr_of_step(
        step,
        num_steps=settings.num_steps,
        base_lr=settings.base_lr,
        warmup_steps=settings.warmup_steps,
    )
    scale_lr(optimizer, lr)
    return lr


def _note_bad(
    seen: set[_VideoKey], new: tuple[BadVideo, ...], known: BadVideoList, *, step: int, limit: int
) -> None:
    for video in new:
        known.add(video, step)
        # Files of two datasets may have the same name.
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


def _check_weights(learner: Learner, step: int) -> None:
    # The guard keeps non-finite steps from the weights, but a hardware fault may still write
    # non-finite values. No checkpoint may hold weights from which a run cannot continue.
    bad = next(filter(None, learner.ranks.gather(_find_bad_weight(learner))), None)
    if bad is not None:
        raise RunError(f"{bad} is not finite after {step} steps; {LESS_LEARNING}")


def _find_bad_weight(learner: Learner) -> str | None:
    # The state dict includes norm statistics.
    average = None if learner.average is None else learner.average.module
    for owner, module in {"weight": learner.task, "averaged weight": average}.items():
        for name, weight in ({} if module is None else module.state_dict()).items():
            if not torch.isfinite(weight).all():
                return f"{owner} {name}"
    return None
