"""A training of milliseconds: a small task, settings, and a progress bar that can act."""

import os
import signal
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

from videokd.engine.checkpoint import load_newest_checkpoint
from videokd.engine.train import TrainSettings

SETTINGS = TrainSettings(
    num_steps=6,
    base_lr=0.01,
    warmup_steps=2,
    clip_grad_norm=0.0,
    seed=5,
    log_period=2,
    eval_period=3,
    checkpoint_period_sec=1e9,
    num_checkpoints=2,
    max_bad_videos=0,
    dataset_names=("a", "b"),
)


class TinyTask(nn.Module):
    """Has what makes resuming hard: dropout, batch norm statistics, and a mode."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
        )

    def forward(self, batch, progress):
        assert self.training
        logits = self.net(batch.main.float().mean(dim=(3, 4)).flatten(1) / 255)
        loss = F.cross_entropy(logits, batch.labels)
        terms = {"ce": loss.detach(), "twice": 2 * loss.detach()}
        correct = logits.argmax(1) == batch.labels
        return SimpleNamespace(loss=loss, correct=correct, terms=terms, counts={})


class Progress:
    """Runs ``action`` when ``step`` steps are done, and remembers all steps."""

    def __init__(self, step=-1, action=lambda: None):
        self.step, self.action, self.steps = step, action, []

    def update(self, step, text):
        self.steps.append(step)
        if step == self.step:
            self.action()


def stop_at(step):
    return Progress(step, lambda: os.kill(os.getpid(), signal.SIGUSR1))


def is_equal(state, other):
    assert state.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in state.items())


def last_checkpoint(folder):
    return load_newest_checkpoint(folder / "checkpoints")
