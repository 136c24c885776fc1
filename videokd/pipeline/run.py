"""Train, test and export the units of a plan; what is finished is skipped, what was cut off goes on."""

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from rich.console import Console
from torch import nn

from videokd.data.build import (
    DatasetParts,
    build_batch_plan,
    build_train_loader,
    build_view_loader,
)
from videokd.engine.checkpoint import save_weights
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import StopRequest, ignore_interrupts
from videokd.engine.train import TrainSettings, train
from videokd.evaluation.multi_view import Predictions, predict_views
from videokd.evaluation.results import ViewPlan, read_result, write_result
from videokd.pipeline.plan import ExperimentPlan, Unit
from videokd.pipeline.progress import progress_bar
from videokd.utils.errors import InputError
from videokd.utils.io import read_json, sha256_json, write_json

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

    Raises:
        InputError: The folder holds a training of another config.
    """
    folder = run.folder / unit.folder
    stage = _read_stage(folder, unit)
    if stage["is_finished"]:
        logger.info("%s: finished before, skipped", unit.folder)
        return
    start = time.monotonic()
    parts = [run.datasets[name] for name in unit.trained_on]
    num_steps = unit.num_epochs * build_batch_plan(run.cfg, parts).num_steps_per_epoch
    model = unit.make_model()
    task = unit.make_task(model).to(run.device)
    optimizer = build_optimizer(
        task,
        name=run.cfg.SOLVER.OPTIMIZER,
        base_lr=unit.base_lr,
        weight_decay=run.cfg.SOLVER.WEIGHT_DECAY,
    )
    try:
        with progress_bar(run.console, unit.folder, num_steps) as bar:
            train(
                task,
                optimizer,
                _make_loader(run, parts, num_steps),
                settings=_settings(run, unit, num_steps),
                folder=folder,
                evaluate=lambda: _validate(run, unit, model),
                stop=run.stop,
                progress=bar,
            )
    finally:
        stage["seconds"] += time.monotonic() - start
        write_json(folder / "stage.json", stage)
    save_weights(folder / "model.safetensors", model.state_dict())
    stage |= {
        "is_finished": True,
        "num_steps": num_steps,
        "num_parameters": sum(p.numel() for p in model.parameters()),
    }
    write_json(folder / "stage.json", stage)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def score_unit(run: Run, unit: Unit) -> None:
    """Score a trained unit on the test splits of its datasets, or skip what is scored already."""
    views = ViewPlan(run.cfg.TEST.NUM_ENSEMBLE_VIEWS, run.cfg.TEST.NUM_SPATIAL_CROPS)
    model: nn.Module | None = None
    for name in unit.tested_on:
        index = run.datasets[name].test
        fingerprint = sha256_json(
            [unit.fingerprint, views.num_clips, views.num_crops, index.digest()]
        )
        folder = run.folder / unit.folder
        known = read_result(folder, name)
        if known is not None and known["fingerprint"] == fingerprint:
            continue
        model = model or run.plan.load_model(unit).to(run.device)
        title = f"test {unit.folder}" + (f" {name}" if len(unit.tested_on) > 1 else "")
        predictions = predict_test(run, model, name, title=title)
        write_result(folder, index, predictions, views, fingerprint=fingerprint)


def predict_test(run: Run, model: nn.Module, name: str, *, title: str = "test") -> Predictions:
    """Return what a model says about all test views of a dataset, with a progress bar.

    Raises:
        InputError: More videos are unreadable than DATA.MAX_BAD_FRACTION allows.
    """
    views = ViewPlan(run.cfg.TEST.NUM_ENSEMBLE_VIEWS, run.cfg.TEST.NUM_SPATIAL_CROPS)
    with progress_bar(run.console, title, len(run.datasets[name].test)) as bar:
        predictions = _predict(run, model, name, "test", views, on_batch=bar.update)
    _check_bad(run, name, predictions)
    return predictions


def _predict(
    run: Run, model: nn.Module, name: str, part: str, views: ViewPlan, *, on_batch: Any = None
) -> Predictions:
    loader = build_view_loader(
        run.cfg,
        run.datasets[name],
        part,
        num_clips=views.num_clips,
        num_crops=views.num_crops,
        num_workers=run.num_workers,
        worker_init=ignore_interrupts,
        pin_memory=run.device.type == "cuda",
    )

    def after_batch(num_done: int) -> None:
        if on_batch is not None:
            on_batch(num_done, "")
            run.stop.raise_if_set()

    return predict_views(model, name, loader, device=run.device, after_batch=after_batch)


def _validate(run: Run, unit: Unit, model: nn.Module) -> dict[str, float]:
    # One centre view: the curve is for looking at, the test uses all views.
    return {
        f"val_top1_{name}": _predict(run, model, name, "val", ViewPlan(1, 1)).scores()["top1"]
        for name in unit.trained_on
    }


def _make_loader(run: Run, parts: list[DatasetParts], num_steps: int) -> Any:
    return build_train_loader(
        run.cfg,
        parts,
        num_steps=num_steps,
        num_workers=run.num_workers,
        worker_init=ignore_interrupts,
        pin_memory=run.device.type == "cuda",
    )


def _settings(run: Run, unit: Unit, num_steps: int) -> TrainSettings:
    cfg = run.cfg
    parts = [run.datasets[name] for name in unit.trained_on]
    steps_per_epoch = num_steps // unit.num_epochs
    has_val = all(p.val is not None and len(p.val) for p in parts)
    return TrainSettings(
        num_steps=num_steps,
        base_lr=unit.base_lr,
        warmup_steps=cfg.SOLVER.WARMUP_EPOCHS * steps_per_epoch,
        clip_grad_norm=cfg.SOLVER.CLIP_GRAD_NORM,
        seed=cfg.SEED,
        log_period=cfg.TRAIN.LOG_PERIOD,
        eval_period=cfg.TRAIN.EVAL_PERIOD * steps_per_epoch if has_val else 0,
        checkpoint_period_sec=cfg.TRAIN.CHECKPOINT_PERIOD,
        max_bad_videos=int(cfg.DATA.MAX_BAD_FRACTION * sum(len(p.train) for p in parts)),
    )


def _check_bad(run: Run, name: str, predictions: Predictions) -> None:
    num_videos = len(run.datasets[name].test)
    if len(predictions.bad) > run.cfg.DATA.MAX_BAD_FRACTION * num_videos:
        first = predictions.bad[0]
        raise InputError(
            f"{name} test: {len(predictions.bad)} of {num_videos} videos cannot be read (first: "
            f"{first.path}: {first.cause}); DATA.MAX_BAD_FRACTION allows "
            f"{run.cfg.DATA.MAX_BAD_FRACTION:g}"
        )


def _read_stage(folder: Path, unit: Unit) -> dict[str, Any]:
    path = folder / "stage.json"
    fresh = {"fingerprint": unit.fingerprint, "is_finished": False, "seconds": 0.0}
    if not path.exists():
        write_json(path, fresh)
        return fresh
    stage: dict[str, Any] = read_json(path)
    if stage["fingerprint"] != unit.fingerprint:
        raise InputError(
            f"{folder} holds a training of another config or other data; choose another "
            "OUTPUT_DIR or delete that folder"
        )
    return stage
