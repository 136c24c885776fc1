"""Trainings of milliseconds."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from tiny_training import SETTINGS, Progress, TinyTask

from videokd.engine.averaging import WeightAverage
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import StopRequest
from videokd.engine.train import Learner, train


@pytest.fixture
def run(tmp_path, make_batch):
    """``run(name, ...)``: train a fresh TinyTask in its folder, going on from what is there.

    Returns the task, or with ``decay`` the module with the average of its weights.
    """

    def batches(step):
        while True:
            yield make_batch(num_frames=2, crop_size=4, seed=step)
            step += 1

    def run_training(
        name,
        *,
        settings=SETTINGS,
        progress=None,
        task=None,
        loader=batches,
        sgd=False,
        decay=None,
        **groups,
    ):
        torch.manual_seed(0)
        task = task or TinyTask()
        options = {"name": "sgd", "base_lr": 0.01, "weight_decay": 0.0} if sgd else {}
        optimizer = build_optimizer(
            task, **{"name": "adamw", "base_lr": 0.01, "weight_decay": 0.05, **options, **groups}
        )
        average = None if decay is None else WeightAverage(task, decay=decay)

        def evaluate():
            task.eval()
            return {"val": sum(p.sum().item() for p in task.parameters())}

        with StopRequest() as stop:
            train(
                Learner(task, optimizer, average),
                loader,
                settings=settings,
                folder=tmp_path / name,
                evaluate=evaluate,
                stop=stop,
                progress=progress or Progress(),
            )
        return task if average is None else average.module

    return run_training


@pytest.fixture(autouse=True)
def every_start_in_a_second_of_its_own(monkeypatch):
    """TensorBoard reads files in the order of their names, which begin with the second."""
    try:
        from tensorboard.summary.writer import event_file_writer
    except ImportError:
        return
    seconds = itertools.count(1_000_000_000)
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=lambda: next(seconds)))
