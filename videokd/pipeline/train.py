"""Training of a plan's trainings. Finished trainings are skipped, interrupted ones resume."""

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videokd.data.batch import ClipBatch
from videokd.engine.averaging import WeightAverage
from videokd.engine.disk import naming_failures
from videokd.engine.distributed import explain_lost_ranks
from videokd.engine.optim import build_optimizer
from videokd.engine.precise_norms import statistics_kept
from videokd.engine.schedule import Schedule
from videokd.engine.sync_norm import sync_batch_norms
from videokd.engine.train import Learner, TrainSettings, train
from videokd.engine.training_file import read_training_file, write_training_file
from videokd.engine.watch import Watch
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.classifier import trains_in_fp16
from videokd.models.frozen import Frozen
from videokd.models.layer_decay import layer_lr_scales
from videokd.pipeline.dry_run import make_fusion_table
from videokd.pipeline.finishing import make_loader, measure_norms, save_final_weights
from videokd.pipeline.progress import progress_bar
from videokd.pipeline.run import Run, config_differences
from videokd.pipeline.scoring import validate_training
from videokd.pipeline.step_cost import explain_out_of_memory
from videokd.pipeline.training import Training
from videokd.utils.env import (
    collect_environment,
    command_line,
    peak_memory_gib,
    reset_peak_memory,
)
from videokd.utils.errors import RunError
from videokd.utils.io import sync
from videokd.utils.log import log_duration, show

logger = logging.getLogger(__name__)


def run_training(run: Run, training: Training) -> None:
    """Train one training, or skip it if it is finished.

    The weights of a ready-made training, which has no steps, are saved as loaded.

    Raises:
        InputError: The folder holds a training of another config, or a model that this training
            needs is not trained yet.
        RunError: The training cannot continue, see ``train``, or the GPU is out of memory.
    """
    record = read_training_file(run.plan.path(training), training.inputs)
    if run.ranks.broadcast(record["is_finished"]):
        logger.info("%s: finished before, skipped", training.folder)
        if run.ranks.is_first:  # left over if the process was killed right after finishing
            _delete_checkpoints(run.plan.path(training))
        return
    try:
        with log_duration(f"training {training.folder}, {training.num_steps} steps", logger=logger):
            _run_training(run, training, record)
    except torch.OutOfMemoryError as error:
        logger.warning("%s: %s", training.folder, str(error).splitlines()[0])
    else:
        return
    # Not in the except block: the traceback there keeps the tensors of the training alive.
    classes = {name: splits.num_classes for name, splits in run.datasets.items()}
    raise explain_out_of_memory(training, run.cfg, run.console, device=run.device, classes=classes)


def _run_training(run: Run, training: Training, record: dict[str, Any]) -> None:
    folder = run.plan.path(training)
    start, call = time.monotonic(), _begin_call(run)
    model = training.build_model()
    training.load_initial(model)
    if isinstance(model, JointTeacher):
        show(run.console, make_fusion_table(model, training.folder), logger=logger)
    learner = _make_learner(run, training, model)
    # The module to evaluate and save.
    result = model if learner.average is None else learner.average.module
    record["class_names"] = run.plan.builder.head_classes(model)
    record["calls"].append(call)
    if run.ranks.is_first:  # checkpoints need training.json beside them, which holds their inputs
        write_training_file(folder, record)
    try:
        if training.num_steps:
            _train_learner(run, training, learner, result)
        with explain_lost_ranks(run.ranks):
            if training.num_steps:  # a ready-made training keeps the loaded statistics
                measure_norms(run, training, result)
            best = save_final_weights(run, training, result, record["class_names"])
    except BaseException:
        record["seconds"] += time.monotonic() - start
        _end_call(call, run, time.monotonic() - start)
        if run.ranks.is_first:
            # The original error matters more than a failure to write the elapsed time.
            with suppress(RunError):
                write_training_file(folder, record)
        raise
    _end_call(call, run, time.monotonic() - start)
    record |= {
        "seconds": record["seconds"] + time.monotonic() - start,
        "is_finished": True,
        "num_steps": training.num_steps,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        **best,
    }
    if run.ranks.is_first:
        write_training_file(folder, record)
        with naming_failures(folder):
            sync(folder)  # after a power cut either the checkpoints or the final weights exist
        _delete_checkpoints(folder)
    run.ranks.wait()  # the next training may load this model


def _begin_call(run: Run) -> dict[str, Any]:
    """Return the record of a new call on a training, and reset the peak memory counters.

    Returns:
        command, started (UTC), environment, and overrides: the config values that differ from the
        run directory's ``config.yaml``.
    """
    reset_peak_memory(run.device)
    environment = {
        **collect_environment(run.device),
        "num_workers": run.num_workers,
        "num_threads": torch.get_num_threads(),
        "num_ranks": run.ranks.num_ranks,
    }
    return {
        "command": command_line(),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": environment,
        "overrides": {key: new for key, (_, new) in config_differences(run).items()},
    }


def _end_call(call: dict[str, Any], run: Run, seconds: float) -> None:
    """Add time and peak memory to the record of a call, in place."""
    call["seconds"] = round(seconds, 3)
    call["peak_memory_gib"] = peak_memory_gib(run.device)


def _delete_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _make_learner(run: Run, training: Training, model: nn.Module) -> Learner:
    task = training.build_task(model).to(run.device)
    if run.cfg.TRAIN.SYNC_BN:
        sync_batch_norms(task)
    optimizer = build_optimizer(
        task,
        name=run.cfg.SOLVER.OPTIMIZER,
        base_lr=training.base_lr,
        beta2=run.cfg.SOLVER.BETA2,
        weight_decay=run.cfg.SOLVER.WEIGHT_DECAY,
        lr_scales=layer_lr_scales(task, run.cfg.SOLVER.LAYER_DECAY, training.lr_scales),
    )
    decay = run.cfg.SOLVER.EMA_DECAY
    frozen = [module.module for module in model.modules() if isinstance(module, Frozen)]
    return Learner(
        task,
        optimizer,
        WeightAverage(model, decay=decay, frozen=frozen) if decay > 0 else None,
        torch.amp.GradScaler(run.device.type) if trains_in_fp16(task) else None,
        run.ranks,
    )


def _train_learner(run: Run, training: Training, learner: Learner, result: nn.Module) -> None:
    with explain_lost_ranks(run.ranks), run.ranks.watched(), ExitStack() as stack:
        bar = stack.enter_context(progress_bar(run.console, training.folder, training.num_steps))
        load_from = make_loader(run, training, training.num_steps)

        def start_loader(step: int) -> Iterator[ClipBatch]:
            return stack.enter_context(closing(load_from(step)))

        train(
            learner,
            start_loader,
            settings=_settings(run, training),
            folder=run.plan.path(training),
            evaluate=lambda: _validate_measured(run, training, result),
            stop=run.stop,
            progress=bar,
            watch=stack.enter_context(_make_watch(run, training, learner.task)),
        )


def _validate_measured(run: Run, training: Training, model: nn.Module) -> dict[str, float]:
    # The measured statistics are used for validation only; training continues with its own.
    with statistics_kept(model):
        measure_norms(run, training, model)
        return validate_training(run, training, model)


def _make_watch(run: Run, training: Training, task: nn.Module) -> Watch:
    return Watch(
        run.plan.path(training),
        training.folder,
        device=run.device,
        frozen=[module for module in task.modules() if isinstance(module, Frozen)],
        loggers=run.cfg.TRAIN.LOGGERS,
        profile_steps=run.cfg.TRAIN.PROFILE_STEPS,
        is_silent=not run.ranks.is_first,
    )


def _settings(run: Run, training: Training) -> TrainSettings:
    cfg = run.cfg
    datasets = [run.datasets[name] for name in training.trained_on]
    has_val = all(d.val is not None and len(d.val) for d in datasets)
    return TrainSettings(
        num_steps=training.num_steps,
        base_lr=training.base_lr,
        warmup_steps=cfg.SOLVER.WARMUP_SHARE * training.num_steps,
        clip_grad_norm=cfg.SOLVER.CLIP_GRAD_NORM,
        seed=cfg.SEED,
        log_period=cfg.TRAIN.LOG_PERIOD,
        eval_period=cfg.TRAIN.EVAL_PERIOD * training.num_steps_per_epoch if has_val else 0,
        checkpoint_period_sec=cfg.TRAIN.CHECKPOINT_PERIOD_SEC,
        num_checkpoints=cfg.TRAIN.NUM_CHECKPOINTS,
        max_bad_videos=int(cfg.DATA.MAX_BAD_FRACTION * sum(len(d.train) for d in datasets)),
        dataset_names=tuple(training.trained_on),
        schedule=Schedule(cfg.SOLVER.LR_POLICY, tuple(cfg.SOLVER.STEPS)),
        num_parts=cfg.TRAIN.ACCUMULATE,
        max_skipped=cfg.TRAIN.MAX_SKIPPED_STEPS,
    )
