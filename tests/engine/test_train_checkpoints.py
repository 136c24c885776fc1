"""When the training loop writes checkpoints, and what it does when that fails."""

import errno
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videokd.engine import checkpoint as checkpoint_module
from videokd.engine.checkpoint import find_damage, load_newest_checkpoint
from videokd.engine.metrics_log import read_metrics
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import StopRequest
from videokd.engine.train import Learner, TrainSettings, train
from videokd.utils.errors import RunError

SETTINGS = TrainSettings(
    num_steps=8,
    base_lr=0.01,
    warmup_steps=0,
    clip_grad_norm=0.0,
    seed=5,
    log_period=1,
    eval_period=2,
    checkpoint_period_sec=1e9,
    num_checkpoints=2,
    max_bad_videos=0,
    dataset_names=("a",),
)


class TinyTask(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(6, 3)

    def forward(self, batch, progress):
        logits = self.net(batch.main.float().mean(dim=(3, 4)).flatten(1) / 255)
        loss = F.cross_entropy(logits, batch.labels)
        hits = logits.argmax(1) == batch.labels
        return SimpleNamespace(loss=loss, correct=hits, terms={}, counts={})


class Watching:
    """Does ``actions[step]`` when ``step`` steps are done."""

    def __init__(self, actions=None):
        self.actions, self.steps = actions or {}, []

    def update(self, step, text):
        self.steps.append(step)
        self.actions.get(step, lambda: None)()


@pytest.fixture
def run(tmp_path, make_batch):
    """``run(settings, progress, scores)``: train; ``scores`` are of the evaluations in turn."""

    def batches(step):
        while True:
            yield make_batch(num_frames=2, crop_size=4, seed=step)
            step += 1

    def run_training(settings=SETTINGS, progress=None, scores=()):
        torch.manual_seed(0)
        task, left = TinyTask(), iter(scores)
        with StopRequest() as stop:
            train(
                Learner(task, build_optimizer(task, name="adamw", base_lr=0.01, weight_decay=0.05)),
                batches,
                settings=settings,
                folder=tmp_path,
                evaluate=lambda: {"val_top1_a": next(left)} if scores else {},
                stop=stop,
                progress=progress or Watching(),
            )

    return run_training


def _steps(tmp_path):
    return sorted(int(path.name[5:]) for path in (tmp_path / "checkpoints").iterdir())


def test_each_best_evaluation_has_a_checkpoint_and_the_last_step_too(run, tmp_path):
    run(scores=[50.0, 70.0, 60.0, 70.0])
    # Those of steps 2 and 4 were best in their time; 8 is no better than 4.
    assert _steps(tmp_path) == [4, 8]


def test_the_best_stays_when_many_follow(run, tmp_path):
    always = replace(SETTINGS, checkpoint_period_sec=1e-9)
    run(always, scores=[70.0, 60.0, 60.0, 60.0])
    assert _steps(tmp_path) == [2, 7, 8]


@pytest.mark.parametrize("num_kept", [1, 3])
def test_as_many_checkpoints_are_kept_as_were_asked_for(run, tmp_path, num_kept):
    run(replace(SETTINGS, checkpoint_period_sec=1e-9, num_checkpoints=num_kept))
    assert _steps(tmp_path) == list(range(9 - num_kept, 9))


def test_a_best_evaluation_of_before_a_stop_is_the_best_after_it(run, tmp_path):
    def die():
        raise MemoryError("killed")

    with pytest.raises(MemoryError, match="killed"):
        run(progress=Watching({5: die}), scores=[50.0, 70.0])
    assert _steps(tmp_path) == [2, 4]
    run(scores=[60.0, 65.0])
    assert _steps(tmp_path) == [4, 8]


def test_a_checkpoint_that_cannot_be_written_ends_the_training_at_once(run, tmp_path, monkeypatch):
    save = checkpoint_module.save_weights

    def fill(path, state):
        if "step-3" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(path, state)

    progress = Watching()
    monkeypatch.setattr(checkpoint_module, "save_weights", fill)
    always = replace(SETTINGS, checkpoint_period_sec=1e-9, eval_period=0)
    path = tmp_path / "checkpoints" / "step-3"
    with pytest.raises(RunError, match=rf"^{path} cannot be written: No space left on device \("):
        run(always, progress)
    # At the next step, or where the one after would be written.
    assert progress.steps[-1] in (3, 4)
    assert _steps(tmp_path) == [1, 2]
    assert [find_damage(tmp_path / f"checkpoints/step-{step}") for step in (1, 2)] == [None, None]
    monkeypatch.setattr(checkpoint_module, "save_weights", save)
    run(always)
    assert load_newest_checkpoint(tmp_path / "checkpoints").state["step"] == 8
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == list(range(1, 9))


def test_a_stop_without_its_checkpoint_is_a_failure(run, monkeypatch):
    def fail(path, state):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint_module, "save_weights", fail)
    with pytest.raises(RunError, match="step-3 cannot be written: No space left on device"):
        run(progress=Watching({3: lambda: signal.raise_signal(signal.SIGTERM)}))


def test_a_log_that_cannot_be_written_is_named(run, tmp_path):
    def make_unwritable():
        (tmp_path / "metrics.jsonl").unlink()
        (tmp_path / "metrics.jsonl").mkdir()

    path = tmp_path / "metrics.jsonl"
    with pytest.raises(
        RunError, match=rf"^{path} cannot be written: Is a directory \(\d+\.\d\d GiB"
    ):
        run(progress=Watching({2: make_unwritable}))
