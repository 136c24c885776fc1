"""Signals around an evaluation: it is left for later, and comes before the next step."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from videokd.engine.checkpoint import load_newest_checkpoint
from videokd.engine.meters import MEASURED
from videokd.engine.metrics_log import read_metrics
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import Stopped, StopRequest
from videokd.engine.train import Learner, TrainSettings, train

SETTINGS = TrainSettings(
    num_steps=6,
    base_lr=0.01,
    warmup_steps=0,
    clip_grad_norm=0.0,
    seed=0,
    log_period=2,
    eval_period=3,
    checkpoint_period_sec=1e9,
    num_checkpoints=1,
    max_bad_videos=0,
    dataset_names=("a",),
)


class TinyTask(nn.Module):
    """Learns noise, drawn from the global generator."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, batch, progress):
        loss = (self.weight * torch.randn(3)).sum()
        return SimpleNamespace(loss=loss, correct=torch.zeros(len(batch)), terms={}, counts={})


class Progress:
    """Raises a signal when ``signal_at`` steps are done, and remembers all steps."""

    def __init__(self, signal_at=-1):
        self.signal_at, self.steps = signal_at, []

    def update(self, step, text):
        self.steps.append(step)
        if step == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def run(tmp_path, make_batch):
    """``run(name, signal_at=-1, evaluations=())`` -> the steps done in this call.

    What is in ``evaluations`` is called in turn, in the evaluations.
    """

    def batches(step):
        while True:
            yield make_batch(num_frames=2, crop_size=4, seed=step)
            step += 1

    def run_training(name, *, signal_at=-1, evaluations=()):
        task, actions, progress = TinyTask(), iter(evaluations), Progress(signal_at)

        def evaluate():
            next(actions, lambda: None)()
            return {"val_top1_a": task.weight.sum().item()}

        optimizer = build_optimizer(task, name="adamw", base_lr=0.01, weight_decay=0.0)
        with StopRequest() as stop:
            train(
                Learner(task, optimizer),
                batches,
                settings=SETTINGS,
                folder=tmp_path / name,
                evaluate=evaluate,
                stop=stop,
                progress=progress,
            )
        return progress.steps

    return run_training


def cut_off():
    """What an evaluation does that a signal reaches."""
    os.kill(os.getpid(), signal.SIGTERM)
    raise Stopped


def die():
    raise MemoryError("killed")


def outcome(folder):
    """Return the weights, and the log without measured times."""
    checkpoint = load_newest_checkpoint(folder / "checkpoints")
    lines = read_metrics(folder / "metrics.jsonl")
    kept = [{key: x for key, x in line.items() if key not in MEASURED} for line in lines]
    return checkpoint.state["step"], checkpoint.model["weight"].tolist(), kept


def evaluated_steps(folder):
    return [line["step"] for line in read_metrics(folder / "metrics.jsonl") if "lr" not in line]


def test_an_evaluation_that_a_signal_cuts_off_comes_before_the_next_step(run, tmp_path):
    run("whole")
    assert evaluated_steps(tmp_path / "whole") == [3, 6]
    for step, rest in ((3, [4, 5, 6]), (6, [])):
        folder = tmp_path / f"cut{step}"
        goes_well = [lambda: None] * (step // 3 - 1)
        with pytest.raises(Stopped, match="^$"):
            run(folder.name, evaluations=[*goes_well, cut_off])
        assert outcome(folder)[0] == step
        assert evaluated_steps(folder) == [3] * len(goes_well)
        # Again, before a step is done.
        with pytest.raises(Stopped, match="^$"):
            run(folder.name, evaluations=[cut_off])
        assert evaluated_steps(folder) == [3] * len(goes_well)
        assert run(folder.name) == rest
        assert outcome(folder) == outcome(tmp_path / "whole")


def test_a_signal_before_an_evaluation_leaves_it_for_later(run, tmp_path):
    run("whole")
    for step in (3, 6):
        with pytest.raises(Stopped, match="^$"):
            run(f"cut{step}", signal_at=step, evaluations=[lambda: None] * (step // 3 - 1) + [die])
        run(f"cut{step}")
        assert outcome(tmp_path / f"cut{step}") == outcome(tmp_path / "whole")


def test_an_evaluation_that_is_done_again_has_one_line(run, tmp_path):
    run("whole")
    with pytest.raises(Stopped, match="^$"):
        run("cut", evaluations=[cut_off])
    # Its line is written, and no checkpoint after it.
    with pytest.raises(MemoryError, match="killed"):
        run("cut", evaluations=[lambda: None, die])
    assert evaluated_steps(tmp_path / "cut") == [3]
    run("cut")
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
