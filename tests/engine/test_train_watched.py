import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from videokd.engine.meters import MEASURED
from videokd.engine.metrics_log import read_metrics
from videokd.engine.optim import build_optimizer
from videokd.engine.train import Learner, TrainSettings, train
from videokd.engine.watch import Watch

CPU = torch.device("cpu")


class TinyTask(nn.Module):
    """Its loss is (step + 1) * (3 a + 4 b): the gradient's norm is 5 (step + 1)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.step = 0

    def forward(self, batch, progress):
        self.step = round(progress * 8) + 1
        loss = self.step * (self.weight * torch.tensor([3.0, 4.0])).sum()
        return SimpleNamespace(
            loss=loss, correct=batch.labels == 0, terms={"ce": loss.detach()}, counts={}
        )


@pytest.fixture
def run(tmp_path, make_batch, monkeypatch):
    """``run(name, die_at=0, clip_grad_norm=0.0, ...)``: eight steps of a second, a line every two.

    The rest goes to Watch.
    """
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def run_training(name, *, die_at=0, clip_grad_norm=0.0, **watched):
        folder, task = tmp_path / name, TinyTask()
        folder.mkdir(exist_ok=True)

        def update(step, text):
            if step == die_at:
                raise MemoryError("killed")

        def loader(step):
            while True:
                now[0] += 1
                yield make_batch(num_frames=2, crop_size=8)

        settings = TrainSettings(
            num_steps=8,
            base_lr=0.01,
            warmup_steps=0,
            clip_grad_norm=clip_grad_norm,
            seed=0,
            log_period=2,
            eval_period=4,
            checkpoint_period_sec=1e-9 if die_at else 1e9,
            num_checkpoints=2,
            max_bad_videos=0,
            dataset_names=("a",),
        )
        with Watch(folder, name, device=CPU, **watched) as watch:
            train(
                Learner(task, build_optimizer(task, name="sgd", base_lr=0.01, weight_decay=0.0)),
                loader,
                settings=settings,
                folder=folder,
                evaluate=lambda: {"val_top1_a": task.weight.sum().item()},
                stop=SimpleNamespace(is_set=False),
                progress=SimpleNamespace(update=update),
                watch=watch,
            )
        return read_metrics(folder / "metrics.jsonl")

    return run_training


@pytest.mark.parametrize("clip_grad_norm", [0.0, 1.0])
def test_the_norm_of_the_gradient_is_that_before_clipping(run, clip_grad_norm):
    lines = [line for line in run("norm", clip_grad_norm=clip_grad_norm) if "loss" in line]
    assert [line["grad_norm"] for line in lines] == pytest.approx([7.5, 17.5, 27.5, 37.5])
    assert [line["grad_norm_max"] for line in lines] == pytest.approx([10.0, 20.0, 30.0, 40.0])


def test_the_time_left_is_right_after_a_restart_too(run):
    with pytest.raises(MemoryError, match="killed"):
        run("eta", die_at=5)
    assert [line["eta_sec"] for line in run("eta") if "loss" in line] == [6.0, 4.0, 2.0, 0.0]


@pytest.mark.parametrize("die_at", [2, 3, 4, 5])
def test_tensorboard_shows_a_killed_training_as_one_that_was_not(run, tmp_path, die_at):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(name):
        board = EventAccumulator(str(tmp_path / name), size_guidance={"scalars": 0}).Reload()
        tags = [tag for tag in board.scalars.Keys() if tag.split("/")[1] not in MEASURED]
        return {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in tags}

    with pytest.raises(MemoryError, match="killed"):
        run("parts", die_at=die_at, loggers=["tensorboard"])
    run("parts", loggers=["tensorboard"])
    run("whole", loggers=["tensorboard"])
    assert read("parts") == read("whole")
    assert [step for step, _ in read("parts")["train/grad_norm"]] == [2, 4, 6, 8]
    assert [step for step, _ in read("parts")["val/val_top1_a"]] == [4, 8]


def test_a_trace_of_a_training_lies_in_its_folder(run, tmp_path):
    run("traced", profile_steps=(2, 3))
    assert [path.name for path in (tmp_path / "traced").glob("profile-*")] == [
        "profile-steps-2-3.json.gz"
    ]
