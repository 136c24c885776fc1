"""Train and test the units of a plan; what is finished is skipped, what was cut off goes on."""

import logging
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from rich.console import Console
from torch import nn

from videokd.data.batch import ClipBatch
from videokd.data.build import DatasetParts, build_train_loader, build_view_loader
from videokd.data.sampling import SEGMENT_CENTRES
from videokd.data.views import ViewPlan
from videokd.engine.averaging import WeightAverage
from videokd.engine.checkpoint import save_weights
from videokd.engine.disk import naming_failures
from videokd.engine.optim import build_optimizer
from videokd.engine.precise_norms import statistics_kept
from videokd.engine.schedule import Schedule
from videokd.engine.stop import StopRequest, ignore_signals
from videokd.engine.train import Learner, TrainSettings, train
from videokd.engine.watch import Watch
from videokd.evaluation.multi_view import Predictions, predict_views
from videokd.evaluation.results import read_result, write_result
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.classifier import trains_in_fp16
from videokd.models.frozen import Frozen
from videokd.models.layer_decay import layer_lr_scales
from videokd.pipeline.fusion_table import make_fusion_table
from videokd.pipeline.memory import explain_out_of_memory
from videokd.pipeline.plan import ExperimentPlan
from videokd.pipeline.precise_norms import measure_norms
from videokd.pipeline.progress import progress_bar
from videokd.pipeline.stage import read_stage, write_stage
from videokd.pipeline.unit import Unit
from videokd.utils.errors import InputError, RunError
from videokd.utils.io import sha256_json, sync

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run directory and the means to work on it."""

    cfg: CfgNode
    datasets: dict[str, DatasetParts]
    plan: ExperimentPlan
    folder: Path
    device: torch.device
    num_workers: int
    console: Console
    stop: StopRequest


def train_unit(run: Run, unit: Unit) -> None:
    """Train one unit, or skip it when it is finished.

    A ready-made one, of no steps, is kept as it is loaded.

    Raises:
        InputError: The folder holds a training of another config, or a model that this one needs
            is not trained yet.
        RunError: The training cannot go on, see ``train``; or the GPU has not enough memory.
    """
    try:
        _train_unit(run, unit)
    except torch.OutOfMemoryError as error:
        logger.warning("%s: %s", unit.folder, str(error).splitlines()[0])
    else:
        return
    # Not in the handler, whose traceback keeps the tensors of the training alive.
    classes = {name: parts.num_classes for name, parts in run.datasets.items()}
    raise explain_out_of_memory(unit, run.cfg, run.console, device=run.device, classes=classes)


def _train_unit(run: Run, unit: Unit) -> None:
    folder = run.plan.path(unit)
    stage = read_stage(folder, unit.inputs)
    if stage["is_finished"]:
        logger.info("%s: finished before, skipped", unit.folder)
        _delete_checkpoints(folder)  # there are some when it was killed as soon as it had finished
        return
    start = time.monotonic()
    model = unit.make_model()
    if unit.load_initial is not None:
        unit.load_initial(model)
    if isinstance(model, JointTeacher):
        run.console.print(make_fusion_table(model, unit.folder))
    learner = _make_learner(run, unit, model)
    result = model if learner.average is None else learner.average.module
    # Checkpoints may only lie beside what says of which config they are.
    write_stage(folder, stage)
    try:
        if unit.num_steps:
            _train_learner(run, unit, learner, result)
    except BaseException:
        stage["seconds"] += time.monotonic() - start
        # Why the training ended matters more than that its time cannot be written too.
        with suppress(RunError):
            write_stage(folder, stage)
        raise
    stage |= {
        "seconds": stage["seconds"] + time.monotonic() - start,
        "is_finished": True,
        "num_steps": unit.num_steps,
        "num_parameters": sum(p.numel() for p in model.parameters()),
    }
    if unit.num_steps:  # a ready-made one stays as it was loaded
        _measure_norms(run, unit, result)
    with naming_failures(folder / "model.safetensors"):
        save_weights(folder / "model.safetensors", result.state_dict())
    write_stage(folder, stage)
    with naming_failures(folder):
        sync(folder)  # a power cut must leave the checkpoints or what they led to
    _delete_checkpoints(folder)


def _delete_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _make_learner(run: Run, unit: Unit, model: nn.Module) -> Learner:
    task = unit.make_task(model).to(run.device)
    optimizer = build_optimizer(
        task,
        name=run.cfg.SOLVER.OPTIMIZER,
        base_lr=unit.base_lr,
        beta2=run.cfg.SOLVER.BETA2,
        weight_decay=run.cfg.SOLVER.WEIGHT_DECAY,
        lr_scales=layer_lr_scales(task, run.cfg.SOLVER.LAYER_DECAY, unit.lr_scales),
    )
    decay = run.cfg.SOLVER.EMA_DECAY
    return Learner(
        task,
        optimizer,
        WeightAverage(model, decay=decay) if decay > 0 else None,
        torch.amp.GradScaler(run.device.type) if trains_in_fp16(task) else None,
    )


def _train_learner(run: Run, unit: Unit, learner: Learner, result: nn.Module) -> None:
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar(run.console, unit.folder, unit.num_steps))
        make_loader = _make_loader(run, unit)
        loaders = stack.enter_context(ExitStack())

        def start_loader(step: int) -> Iterator[ClipBatch]:
            loaders.close()  # that of before the training went back to a checkpoint
            return loaders.enter_context(closing(make_loader(step)))

        train(
            learner,
            start_loader,
            settings=_settings(run, unit),
            folder=run.plan.path(unit),
            evaluate=lambda: _validate_measured(run, unit, result),
            stop=run.stop,
            progress=bar,
            watch=stack.enter_context(_make_watch(run, unit, learner.task)),
        )


def score_unit(run: Run, unit: Unit, part: str = "test") -> None:
    """Score a trained unit on one part of its datasets, or skip what is scored already.

    Args:
        run: The run.
        unit: Of its plan.
        part: "test", or "val" for the held-out part, which choices are made on.

    Raises:
        InputError: A dataset has no held-out part, or more of its videos are unreadable than
            DATA.MAX_BAD_FRACTION allows.
    """
    model: nn.Module | None = None
    for name in unit.tested_on:
        if _has_result(run, unit, name, part):
            continue
        model = model or run.plan.load_model(unit).to(run.device)
        title = f"{part} {unit.folder}" + (f" {name}" if len(unit.tested_on) > 1 else "")
        predictions = predict_part(run, unit, model, name, part, title=title)
        write_result(
            run.plan.path(unit),
            run.datasets[name].index(part),
            predictions,
            _test_views(run),
            clip=unit.clips.main,
            fingerprint=_result_fingerprint(run, unit, name, part),
            part=part,
        )


def is_scored(run: Run, unit: Unit, part: str = "test") -> bool:
    """Say whether ``score_unit`` has nothing to do.

    Raises:
        InputError: A dataset has no such part.
    """
    return all(_has_result(run, unit, name, part) for name in unit.tested_on)


def predict_part(
    run: Run, unit: Unit, model: nn.Module, name: str, part: str = "test", *, title: str = "test"
) -> Predictions:
    """Return what a model says about all test views of a dataset, with a progress bar.

    Args:
        run: The run.
        unit: Whose clips the model takes.
        model: On its device.
        name: The dataset.
        part: "test" or "val".
        title: Of the progress bar.

    Raises:
        InputError: More videos are unreadable than DATA.MAX_BAD_FRACTION allows.
    """
    views = _test_views(run)
    with progress_bar(run.console, title, len(run.datasets[name].index(part))) as bar:

        def after_batch(num_done: int) -> None:
            bar.update(num_done, "")
            run.stop.raise_if_set()

        predictions = _predict(run, unit, model, name, part, views, after_batch=after_batch)
    _check_bad(run, name, part, predictions)
    for video in predictions.bad:
        logger.warning("%s %s: left out %s: %s", name, part, video.path, video.cause)
    if not len(predictions.labels):
        raise InputError(f"{name} {part}: no video to score; set DATA.VAL_FRACTION higher")
    return predictions


def _test_views(run: Run) -> ViewPlan:
    test = run.cfg.TEST
    return ViewPlan(test.NUM_ENSEMBLE_VIEWS, test.NUM_SPATIAL_CROPS, test.CLIP_RULE)


def _result_fingerprint(run: Run, unit: Unit, name: str, part: str) -> str:
    views = _test_views(run)
    videos = run.datasets[name].index(part).digest()
    # The rule came later: results of before it are of the default one.
    rule = [] if views.clip_rule == SEGMENT_CENTRES else [views.clip_rule]
    return sha256_json([unit.fingerprint, views.num_clips, views.num_crops, videos, *rule])


def _has_result(run: Run, unit: Unit, name: str, part: str) -> bool:
    known = read_result(run.plan.path(unit), name, part)
    if known is None:
        return False
    return bool(known.get("fingerprint") == _result_fingerprint(run, unit, name, part))


def _predict(
    run: Run,
    unit: Unit,
    model: nn.Module,
    name: str,
    part: str,
    views: ViewPlan,
    *,
    after_batch: Callable[[int], None],
) -> Predictions:
    batches = build_view_loader(
        run.cfg,
        run.datasets[name],
        part,
        clips=unit.clips,
        views=views,
        num_workers=run.num_workers,
        worker_init=ignore_signals,
        pin_memory=run.device.type == "cuda",
    )
    with closing(batches):
        return predict_views(model, name, batches, device=run.device, after_batch=after_batch)


def _validate(run: Run, unit: Unit, model: nn.Module) -> dict[str, float]:
    # One centre view: the curve is for looking at, the test uses all views.
    line = {}
    for name in unit.tested_on or unit.trained_on:
        views = ViewPlan(1, 1)
        predictions = _predict(run, unit, model, name, "val", views, after_batch=lambda _: None)
        _check_bad(run, name, "val", predictions)
        if len(predictions.labels):
            line[f"val_top1_{name}"] = predictions.scores()["top1"]
    return line


def _validate_measured(run: Run, unit: Unit, model: nn.Module) -> dict[str, float]:
    # The statistics that the training goes on with stay its own.
    with statistics_kept(model):
        _measure_norms(run, unit, model)
        return _validate(run, unit, model)


def _measure_norms(run: Run, unit: Unit, model: nn.Module) -> None:
    if num_batches := run.cfg.SOLVER.PRECISE_BN_BATCHES:
        make_loader = _make_loader(run, unit, num_batches)
        measure_norms(model, make_loader, run.device, unit.folder)


def _make_loader(
    run: Run, unit: Unit, num_steps: int = 0
) -> Callable[[int], Generator[ClipBatch, None, None]]:
    return build_train_loader(
        run.cfg,
        [run.datasets[name] for name in unit.trained_on],
        clips=unit.task_clips or unit.clips,
        num_steps=num_steps or unit.num_steps,
        num_workers=run.num_workers,
        worker_init=ignore_signals,
        pin_memory=run.device.type == "cuda",
    )


def _make_watch(run: Run, unit: Unit, task: nn.Module) -> Watch:
    return Watch(
        run.plan.path(unit),
        unit.folder,
        device=run.device,
        frozen=[module for module in task.modules() if isinstance(module, Frozen)],
        loggers=run.cfg.TRAIN.LOGGERS,
        profile_steps=run.cfg.TRAIN.PROFILE_STEPS,
    )


def _settings(run: Run, unit: Unit) -> TrainSettings:
    cfg = run.cfg
    parts = [run.datasets[name] for name in unit.trained_on]
    has_val = all(p.val is not None and len(p.val) for p in parts)
    return TrainSettings(
        num_steps=unit.num_steps,
        base_lr=unit.base_lr,
        warmup_steps=cfg.SOLVER.WARMUP_EPOCHS * unit.num_steps_per_epoch,
        clip_grad_norm=cfg.SOLVER.CLIP_GRAD_NORM,
        seed=cfg.SEED,
        log_period=cfg.TRAIN.LOG_PERIOD,
        eval_period=cfg.TRAIN.EVAL_PERIOD * unit.num_steps_per_epoch if has_val else 0,
        checkpoint_period_sec=cfg.TRAIN.CHECKPOINT_PERIOD,
        num_checkpoints=cfg.TRAIN.NUM_CHECKPOINTS,
        max_bad_videos=int(cfg.DATA.MAX_BAD_FRACTION * sum(len(p.train) for p in parts)),
        dataset_names=tuple(unit.trained_on),
        schedule=Schedule(cfg.SOLVER.LR_POLICY, tuple(cfg.SOLVER.STEPS)),
        num_parts=cfg.TRAIN.ACCUMULATE,
        max_skipped=cfg.TRAIN.MAX_SKIPPED_STEPS,
    )


def _check_bad(run: Run, name: str, part: str, predictions: Predictions) -> None:
    num_videos = len(run.datasets[name].index(part))
    is_over = len(predictions.bad) > run.cfg.DATA.MAX_BAD_FRACTION * num_videos
    if is_over or (part == "test" and not len(predictions.labels)):
        first = predictions.bad[0]
        raise InputError(
            f"{name} {part}: {len(predictions.bad)} of {num_videos} videos cannot be read (first: "
            f"{first.path}: {first.cause}); DATA.MAX_BAD_FRACTION allows "
            f"{run.cfg.DATA.MAX_BAD_FRACTION:g}"
        )
