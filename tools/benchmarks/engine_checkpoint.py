"""Cost of checkpoints: writing, blocking the training, and resuming."""

import gc
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.figures import Figure, paired_ratios
from benchmarks.workloads import CPU_CASES, ModelCase
from videokd.config import default_config, load_config
from videokd.data.batch import ClipBatch
from videokd.data.build import (
    LoaderWorkers,
    build_clip_spec,
    build_datasets,
    build_train_loader,
)
from videokd.data.clip_spec import ClipSet
from videokd.distill.tasks import ClassificationTask
from videokd.engine.checkpoint import Checkpoint, CheckpointFolder
from videokd.engine.checkpoint_writer import CheckpointWriter
from videokd.engine.guard import SkipGuard
from videokd.engine.meters import Meters
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import StopRequest, ignore_signals
from videokd.engine.train import Learner, TrainSettings, train
from videokd.models.classifier import VideoClassifier
from videokd.synthetic import generate_datasets
from videokd.utils.io import atomic_write_text, sync

# 33 million weights and AdamW's two moments of each: 0.4 GB.
_LARGE_CASE = ModelCase("r3d_18", 8, 48, 2)
_FEW_STEPS, _MANY_STEPS = 10, 10_000
_LOG_PERIOD, _EVAL_PERIOD = 10, 100
_MOST_OVER_PLAIN = 1.10
_MOST_OVER_FEW = 1.05
_MIB = 2**20

Works = Mapping[str, Callable[[], float]]


def benchmark_checkpoints(
    folder: Path, *, num_rounds: int, case: ModelCase = _LARGE_CASE
) -> list[Figure]:
    """Time writing against torch.save with fsync, the blocking copy, and resuming.

    Writing is measured in wall time, since the disk and several threads take part. Resuming is
    measured in CPU time, which other processes affect little. The order alternates between rounds.

    Args:
        folder: Temporary folder on the disk to measure; its files are deleted.
        num_rounds: Measurements of each.
        case: The network whose checkpoint is written.
    """
    figures = _time_writing(folder / "writing", case, num_rounds)
    return figures + _time_resuming(folder / "resuming", num_rounds)


def _time_writing(folder: Path, case: ModelCase, num_rounds: int) -> list[Figure]:
    folder.mkdir(parents=True)
    learner = _make_learner(case)
    weights, momenta = learner.task.state_dict(), learner.optimizer.state_dict()
    checkpoints = CheckpointFolder(folder / "checkpoints")
    writer = CheckpointWriter(checkpoints)
    steps = iter(range(10**9))

    def make() -> Checkpoint:
        return Checkpoint(weights, momenta, {"step": next(steps), "bad_videos": []})

    def save_plainly() -> float:
        start = time.perf_counter()
        path = folder / "plain.pt"
        torch.save(vars(make()), path)
        sync(path)
        return time.perf_counter() - start

    def save() -> float:
        start = time.perf_counter()
        checkpoints.save(make())
        return time.perf_counter() - start

    def copy() -> float:
        start = time.perf_counter()
        kept = [value.clone() for value in _tensors([weights, momenta])]
        seconds = time.perf_counter() - start
        del kept
        return seconds

    def save_behind() -> float:
        start = time.perf_counter()
        writer.save(make())
        seconds = time.perf_counter() - start
        writer.wait()
        return seconds

    works = {"torch_save": save_plainly, "whole": save, "copy": copy, "blocking": save_behind}
    times = _time_in_turn(works, num_rounds)
    num_bytes = sum(value.nbytes for value in _tensors([weights, momenta]))
    shutil.rmtree(folder)
    return [
        Figure.of_count("engine/checkpoint/size", num_bytes / _MIB, "MiB"),
        *(_ms(f"engine/checkpoint/{name}", samples) for name, samples in times.items()),
        Figure.of_samples(
            "engine/checkpoint/whole/ratio",
            paired_ratios(times["whole"], times["torch_save"]),
            "of torch.save with fsync",
            must=_MOST_OVER_PLAIN,
            goal=1.0,
        ),
        Figure.of_samples(
            "engine/checkpoint/blocking/share",
            paired_ratios(times["blocking"], times["whole"]),
            "of the time to write",
        ),
        Figure.of_samples(
            "engine/checkpoint/blocking/ratio",
            paired_ratios(times["blocking"], times["copy"]),
            "of a copy in memory",
        ),
    ]


def _time_resuming(folder: Path, num_rounds: int) -> list[Figure]:
    case = CPU_CASES[0]
    make_loader, settings = _prepare_data(folder, case)
    learner = _make_learner(case)
    with closing(make_loader(0)) as batches:
        model = cast(VideoClassifier, learner.task.model)
        model.clip_name = next(iter(next(batches).clips))
    works = {}
    for step in (_FEW_STEPS, _MANY_STEPS):
        run = folder / f"after-{step}"
        _leave_off(run, learner, step)
        works[f"after_{step}"] = _resuming(run, learner, make_loader, settings)
    times = _time_in_turn(works, num_rounds)
    shutil.rmtree(folder)
    few, many = times.values()
    return [
        *(_ms(f"engine/resume/{name}", samples) for name, samples in times.items()),
        Figure.of_samples(
            "engine/resume/ratio",
            paired_ratios(many, few),
            f"of going on after {_FEW_STEPS} steps",
            must=_MOST_OVER_FEW,
            goal=1.0,
        ),
    ]


class _Begun(Exception):  # noqa: N818  (it ends a measurement)
    """Signal that the first step after resuming is done."""


class _EndAtFirstStep:
    def update(self, step: int, text: str) -> None:
        raise _Begun


def _resuming(
    folder: Path,
    learner: Learner,
    make_loader: Callable[[int], Any],
    settings: TrainSettings,
) -> Callable[[], float]:
    """Return a function that resumes a training and returns the CPU seconds until its first step.

    The checkpoint is found, verified and loaded, the log is read, the loader is started, the first
    batch is decoded, and one step is done.
    """

    def resume() -> float:
        loaders = []

        def open_loader(step: int) -> Iterator[ClipBatch]:
            loaders.append(make_loader(step))
            return iter(loaders[0])

        start = time.process_time()
        with suppress(_Begun):
            train(
                learner,
                open_loader,
                settings=settings,
                folder=folder,
                evaluate=dict,
                stop=StopRequest(),
                progress=_EndAtFirstStep(),
            )
        seconds = time.process_time() - start
        with closing(loaders[0]):
            return seconds

    return resume


def _prepare_data(folder: Path, case: ModelCase) -> tuple[Callable[[int], Any], TrainSettings]:
    root = generate_datasets(folder / "videos", profile="tiny", num_processes=1)
    videos, lists = root / "ucf_style/UCF-101", root / "ucf_style/ucfTrainTestlist"
    model = {"a": {"ARCH": case.arch, "WIDTH_FACTOR": 0.125, "DEPTH_FACTOR": 0.5}}
    config = {
        "DATASETS": {"a": {"FORMAT": "ucf101", "ROOT": str(videos), "ANNOTATIONS": str(lists)}},
        "EXPERTS": model,
        "STUDENTS": model,
        "DATA": {"NUM_FRAMES": case.num_frames, "SHORT_SIDE": 56, "CROP_SIZE": case.crop_size},
        "TRAIN": {"BATCH_SIZE": case.batch_size},
    }
    path = folder / "config.yaml"
    atomic_write_text(path, json.dumps(config))  # JSON is valid YAML
    cfg = load_config(path)
    settings = TrainSettings(
        num_steps=2 * _MANY_STEPS,
        base_lr=1e-3,
        warmup_steps=0,
        clip_grad_norm=0.0,
        seed=0,
        log_period=_LOG_PERIOD,
        eval_period=_EVAL_PERIOD,
        checkpoint_period_sec=1e9,
        num_checkpoints=default_config().TRAIN.NUM_CHECKPOINTS,
        max_bad_videos=0,
        dataset_names=("a",),
    )
    make_loader = build_train_loader(
        cfg,
        list(build_datasets(cfg).values()),
        clips=ClipSet(build_clip_spec(cfg)),
        num_steps=settings.num_steps,
        workers=LoaderWorkers(0, ignore_signals, pin_memory=False),
    )
    return make_loader, settings


def _make_learner(case: ModelCase) -> Learner:
    """Build a network and an optimizer and do one step, so that the optimizer state exists."""
    task = ClassificationTask(case.build("float32", "contiguous"), {"a": 1.0})
    optimizer = build_optimizer(task, name="adamw", base_lr=1e-3, weight_decay=0.05)
    task(case.random_batch(torch.device("cpu"))).loss.backward()
    optimizer.step()
    return Learner(task, optimizer)


def _leave_off(folder: Path, learner: Learner, step: int) -> None:
    """Write the files of a training that was stopped after ``step`` steps."""
    lines = []
    for at in range(_LOG_PERIOD, step + 1, _LOG_PERIOD):
        lines.append({"step": at, "lr": 1e-3, "bad_videos": 0, "loss": 1 / 3, "top1": 100 / 3})
        if at % _EVAL_PERIOD == 0:
            lines.append({"step": at, "val_top1_a": 100 / 7})
    atomic_write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    meters = Meters(torch.device("cpu")).state()
    state = {"step": step, "bad_videos": [], "meters": meters}
    state["update"] = SkipGuard(max_skipped=0).state()
    weights, momenta = learner.task.state_dict(), learner.optimizer.state_dict()
    CheckpointFolder(folder / "checkpoints").save(Checkpoint(weights, momenta, state))


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | list):
        return []
    return [tensor for item in values for tensor in _tensors(item)]


def _time_in_turn(works: Works, num_rounds: int) -> dict[str, list[float]]:
    """Return name -> seconds of each round; the order is reversed in every other round."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for i in range(num_rounds):
        for name in list(works)[:: 1 if i % 2 == 0 else -1]:
            gc.collect()
            times[name].append(works[name]())
    return times


def _ms(name: str, seconds: list[float]) -> Figure:
    return Figure.of_samples(f"{name}/ms", [1e3 * value for value in seconds], "ms")
