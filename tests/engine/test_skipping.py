"""Whole trainings with steps that are skipped: they go on from a checkpoint as if never stopped."""

import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videokd.engine.checkpoint import load_newest_checkpoint
from videokd.engine.metrics_log import read_metrics
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import Stopped, StopRequest
from videokd.engine.train import Learner, TrainSettings, train
from videokd.utils.errors import RunError

SETTINGS = TrainSettings(
    num_steps=12,
    base_lr=0.05,
    warmup_steps=0,
    clip_grad_norm=0.0,
    seed=0,
    log_period=3,
    eval_period=0,
    num_checkpoints=2,
    checkpoint_period_sec=1e9,
    max_bad_videos=0,
    dataset_names=("a",),
    max_skipped=3,
)


class Steep(nn.Module):
    """Its gradient passes through float16, where it overflows if the loss's scale is too large."""

    def __init__(self, bad_steps=()):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.net[2].weight.register_hook(lambda grad: grad.half().float())
        self.bad_steps = bad_steps
        self.num_clips = []

    def forward(self, batch, progress):
        self.num_clips.append(len(batch))
        logits = self.net(batch.main.float().mean(dim=(3, 4)).flatten(1) / 255)
        step = round(progress * SETTINGS.num_steps)
        loss = F.cross_entropy(logits, batch.labels)
        loss = loss * (torch.inf if step in self.bad_steps else 1.0)
        correct = logits.argmax(1) == batch.labels
        return SimpleNamespace(loss=loss, correct=correct, terms={"ce": loss.detach()}, counts={})


class Stopping:
    """Asks for a stop when ``step`` steps are done."""

    def __init__(self, step=-1):
        self.step = step

    def update(self, step, text):
        if step == self.step:
            os.kill(os.getpid(), signal.SIGUSR1)


@pytest.fixture
def run(tmp_path, make_batch):
    """``run(name, stop_at=-1, settings=...)``: the task, its log, its last checkpoint.

    Steps in ``bad`` are not finite.
    """

    def batches(step):
        while True:
            yield make_batch(num_frames=2, crop_size=4, seed=step)
            step += 1

    def run_training(name, *, bad=(), stop_at=-1, settings=SETTINGS):
        torch.manual_seed(0)
        task = Steep(bad)
        optimizer = build_optimizer(task, name="adamw", base_lr=0.05, weight_decay=0.05)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**22, growth_interval=2)
        with StopRequest() as stop:
            train(
                Learner(task, optimizer, scaler=scaler),
                batches,
                settings=settings,
                folder=tmp_path / name,
                evaluate=dict,
                stop=stop,
                progress=Stopping(stop_at),
            )
        keys = ("step", "loss", "ce", "top1", "skipped_steps", "lr")
        log = [
            {key: line[key] for key in keys if key in line}
            for line in read_metrics(tmp_path / name / "metrics.jsonl")
        ]
        return task, log, load_newest_checkpoint(tmp_path / name / "checkpoints")

    return run_training


@pytest.mark.parametrize("stop_at", [2, 6, 7, 8, 11])
def test_a_stop_between_skipped_steps_changes_nothing(run, stop_at):
    bad = (6, 7)
    _, log, whole = run("whole", bad=bad)
    # Six overflows or so at the start, some where the scale has grown, and two that are bad.
    assert whole.state["update"]["num_skipped"] > 5
    with pytest.raises(Stopped, match="^$"):
        run("halves", bad=bad, stop_at=stop_at)
    _, other_log, halves = run("halves", bad=bad)
    assert halves.state == whole.state
    assert all(torch.equal(value, halves.model[name]) for name, value in whole.model.items())
    assert other_log == log
    assert log[-1]["skipped_steps"] == whole.state["update"]["num_skipped"]


def test_the_scale_is_kept_with_a_checkpoint(run):
    _, _, checkpoint = run("whole")
    scaler = checkpoint.state["update"]["scaler"]
    assert scaler.keys() >= {"scale", "_growth_tracker", "growth_interval"}
    assert 1 < scaler["scale"] < 2.0**22


def test_steps_are_taken_in_the_parts_that_the_settings_say(run):
    task, _, _ = run("parts", settings=replace(SETTINGS, num_parts=2))
    assert task.num_clips == [2, 2] * 12


def test_too_many_steps_in_a_row_end_it_with_the_last_checkpoint_left(run):
    always = replace(SETTINGS, checkpoint_period_sec=1e-9)
    with pytest.raises(RunError, match="^4 steps in a row, the last: the loss is inf at step 9"):
        run("run", bad=range(6, 12), settings=always)
    task, _, whole = run("run", settings=always)  # the cause is mended
    assert whole.state["step"] == SETTINGS.num_steps
    # Resumed after the third skipped step: the rest of the steps, and none before.
    assert len(task.num_clips) == 3
