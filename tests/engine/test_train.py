import math
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videokd.data.batch import BadVideo
from videokd.engine.checkpoint import load_newest_checkpoint
from videokd.engine.metrics_log import read_metrics
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import Stopped, StopRequest
from videokd.engine.train import TrainSettings, train
from videokd.utils.errors import RunError

SETTINGS = TrainSettings(
    num_steps=6,
    base_lr=0.01,
    warmup_steps=2,
    clip_grad_norm=0.0,
    seed=5,
    log_period=2,
    eval_period=3,
    checkpoint_period_sec=1e9,
    max_bad_videos=0,
)


class TinyTask(nn.Module):
    """Has what makes resuming hard: dropout, batch norm statistics, and a mode."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
        )

    def forward(self, batch):
        assert self.training
        logits = self.net(batch.clips.float().mean(dim=(3, 4)).flatten(1) / 255)
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


@pytest.fixture
def run(tmp_path, make_batch):
    """``run(name, ...)``: train a fresh TinyTask in its folder, going on from what is there."""

    def batches(step):
        while True:
            yield make_batch(num_frames=2, crop_size=4, seed=step)
            step += 1

    def run_training(
        name, *, settings=SETTINGS, progress=None, task=None, loader=batches, sgd=False
    ):
        torch.manual_seed(0)
        task = task or TinyTask()
        options = {"name": "sgd", "base_lr": 0.01, "weight_decay": 0.0} if sgd else {}
        optimizer = build_optimizer(
            task, **{"name": "adamw", "base_lr": 0.01, "weight_decay": 0.05, **options}
        )

        def evaluate():
            task.eval()
            return {"val": sum(p.sum().item() for p in task.parameters())}

        with StopRequest() as stop:
            train(
                task,
                optimizer,
                loader,
                settings=settings,
                folder=tmp_path / name,
                evaluate=evaluate,
                stop=stop,
                progress=progress or Progress(),
            )
        return task

    return run_training


def _stop_at(step):
    return Progress(step, lambda: os.kill(os.getpid(), signal.SIGUSR1))


def _lines(folder):
    return [
        {key: value for key, value in line.items() if key not in ("clips_per_sec", "data_wait")}
        for line in read_metrics(folder / "metrics.jsonl")
    ]


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_stopped_run_goes_on_bit_for_bit(run, tmp_path, step):
    whole = run("whole")
    with pytest.raises(Stopped, match="^$"):
        run("halves", progress=_stop_at(step))
    torch.manual_seed(123)
    progress = Progress()
    resumed = run("halves", progress=progress)
    assert progress.steps == list(range(step + 1, 7))
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in whole.state_dict().items())
    assert _lines(tmp_path / "halves") == _lines(tmp_path / "whole")


def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint_bit_for_bit(run, tmp_path):
    whole = run("whole")

    def die():
        raise MemoryError("killed")

    always = replace(SETTINGS, checkpoint_period_sec=1e-9)
    with pytest.raises(MemoryError, match="killed"):
        run("killed", settings=always, progress=Progress(4, die))
    assert load_newest_checkpoint(tmp_path / "killed" / "checkpoints").state["step"] == 3
    resumed = run("killed")
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in whole.state_dict().items())
    assert _lines(tmp_path / "killed") == _lines(tmp_path / "whole")


def test_a_finished_run_is_not_trained_further(run, tmp_path):
    first = run("done")
    lines = read_metrics(tmp_path / "done" / "metrics.jsonl")
    progress = Progress()
    again = run("done", progress=progress)
    assert progress.steps == []
    assert read_metrics(tmp_path / "done" / "metrics.jsonl") == lines
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())


def test_a_signal_at_the_last_step_does_not_stop_a_finished_run(run, tmp_path):
    run("done", progress=_stop_at(6))
    assert load_newest_checkpoint(tmp_path / "done" / "checkpoints").state["step"] == 6


def test_the_log_holds_the_periods_that_were_asked_for(run, tmp_path):
    run("log", settings=replace(SETTINGS, num_steps=5, log_period=2, eval_period=4))
    lines = read_metrics(tmp_path / "log" / "metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 5]
    assert [line["step"] for line in lines if "val" in line] == [4, 5]
    assert lines[0].keys() == {
        *("step", "lr", "bad_videos", "loss", "ce", "twice", "top1", "clips_per_sec", "data_wait")
    }
    assert lines[0]["twice"] == pytest.approx(2 * lines[0]["ce"])
    # Warm-up over 2 of 5 steps: the second step has the peak.
    assert lines[0]["lr"] == pytest.approx(0.01)


def test_no_step_is_wasted_on_a_rate_of_zero(run, tmp_path):
    run("lr", settings=replace(SETTINGS, warmup_steps=2.5, log_period=1))
    rates = [x["lr"] for x in read_metrics(tmp_path / "lr" / "metrics.jsonl") if "lr" in x]
    # Up at 0.4, 0.8 and (2.5 is less than a whole step) 1.0 of the peak; then down from step 3 on.
    falling = [0.5 * (1 + math.cos(math.pi * (step - 2.5) / 3.5)) for step in (3, 4, 5)]
    assert rates == pytest.approx([0.01 * x for x in (0.4, 0.8, 1.0, *falling)])


def test_steps_are_those_of_a_hand_written_loop(run, make_batch):
    trained = run("loop", settings=replace(SETTINGS, num_steps=2, warmup_steps=0), sgd=True)
    torch.manual_seed(0)
    task = TinyTask()
    optimizer = torch.optim.SGD(task.parameters(), momentum=0.9, nesterov=True)
    for step, lr in enumerate([0.01, 0.005]):  # half a cosine over 2 steps
        torch.manual_seed(5 * 1_000_003 + step)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        task(make_batch(num_frames=2, crop_size=4, seed=step)).loss.backward()
        optimizer.step()
    for key, value in task.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[key], value)


def test_gradients_are_clipped_to_the_norm_that_was_asked_for(run):
    settings = replace(SETTINGS, num_steps=1, warmup_steps=0, clip_grad_norm=1e-3)
    trained = run("clip", settings=settings, sgd=True)
    torch.manual_seed(0)
    moved = [
        (a - b).flatten()
        for a, b in zip(trained.parameters(), TinyTask().parameters(), strict=True)
    ]
    # The first Nesterov step is lr * (1 + momentum) * gradient.
    assert torch.cat(moved).norm().item() == pytest.approx(0.01 * 1.9 * 1e-3, rel=1e-3)


class BreakingTask(TinyTask):
    """Its fourth step has a loss of NaN, or ("gradient") only a gradient that is not finite."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.num_calls = 0

    def forward(self, batch):
        output = super().forward(batch)
        self.num_calls += 1
        if self.num_calls != 4:
            return output
        if self.how == "statistics":
            self.net[1].running_var.data.fill_(torch.inf)
            return output
        if self.how == "gradient":
            # The square root of exactly zero is finite and has an infinite slope.
            return replace_loss(output, output.loss + (self.net[0].bias * 0).sum().sqrt())
        output.terms["twice"] = torch.tensor(torch.inf)
        return replace_loss(output, output.loss * torch.nan)


def replace_loss(output, loss):
    return SimpleNamespace(**{**vars(output), "loss": loss})


def test_a_loss_that_is_not_finite_ends_the_run_with_what_is_needed_to_find_it(run, tmp_path):
    message = (
        r"the loss is nan at step 3, learning rate 0\.00\d+: ce [\d.]+, twice inf; "
        r"dataset ids \[0, 0, 0, 0\], record ids \[0, 1, 2, 3\]; try a lower SOLVER.BASE_LR"
    )
    with pytest.raises(RunError, match=message):
        run("nan", task=BreakingTask("loss"))
    assert load_newest_checkpoint(tmp_path / "nan" / "checkpoints") is None


@pytest.mark.parametrize(
    ("how", "name"), [("gradient", r"net\.0\.bias"), ("statistics", r"net\.1\.running_var")]
)
def test_weights_that_are_not_finite_never_reach_a_checkpoint(run, tmp_path, how, name):
    always = replace(SETTINGS, checkpoint_period_sec=1e-9)
    with pytest.raises(RunError, match=f"weight {name} is not finite after 4 steps"):
        run("inf", task=BreakingTask(how), settings=always)
    assert load_newest_checkpoint(tmp_path / "inf" / "checkpoints").state["step"] == 3


def _bad(*names):
    return tuple(BadVideo(0, i, name, "cut off") for i, name in enumerate(names))


def _loader(make_batch, bad_per_step, num_clips=4):
    def loader(step):
        for i in range(step, len(bad_per_step)):
            yield make_batch(
                (0,) * num_clips, num_frames=2, crop_size=4, seed=i, bad=_bad(*bad_per_step[i])
            )

    return loader


def test_bad_videos_within_the_budget_are_counted_once_and_named(run, make_batch, tmp_path, caplog):
    loader = _loader(make_batch, [["a"], ["a", "b"], [], ["b"], [], []])
    run("bad", settings=replace(SETTINGS, max_bad_videos=2), loader=loader)
    lines = read_metrics(tmp_path / "bad" / "metrics.jsonl")
    assert [line["bad_videos"] for line in lines if "loss" in line] == [2, 2, 2]
    assert caplog.text.count("skipped an unreadable video") == 2
    assert "skipped an unreadable video: b: cut off" in caplog.text


def test_files_of_one_name_in_two_datasets_are_two_bad_videos(run, make_batch, tmp_path):
    bad = [BadVideo(0, 3, "a", "cut off"), BadVideo(1, 5, "a", "cut off")]

    def loader(step):
        while True:
            yield make_batch(num_frames=2, crop_size=4, bad=bad)

    run("bad", settings=replace(SETTINGS, max_bad_videos=2), loader=loader)
    assert read_metrics(tmp_path / "bad" / "metrics.jsonl")[0]["bad_videos"] == 2


def test_bad_videos_past_the_budget_end_the_run_with_their_names(run, make_batch):
    loader = _loader(make_batch, [["b"], ["a", "b"]])
    with pytest.raises(RunError, match="2 unreadable videos, more than the 1 allowed .*: a, b"):
        run("bad", settings=replace(SETTINGS, max_bad_videos=1), loader=loader)


def test_bad_videos_of_before_a_stop_count_after_it(run, make_batch):
    loader = _loader(make_batch, [["a"], [], ["b"], [], [], []])
    settings = replace(SETTINGS, max_bad_videos=1)
    with pytest.raises(Stopped, match="^$"):
        run("bad", settings=settings, loader=loader, progress=_stop_at(1))
    with pytest.raises(RunError, match="2 unreadable videos"):
        run("bad", settings=settings, loader=loader)


@pytest.mark.parametrize("num_clips", [0, 1])
def test_a_batch_too_small_for_batch_norm_is_a_step_without_learning(
    run, make_batch, tmp_path, num_clips
):
    trained = run("small", loader=_loader(make_batch, [[]] * 6, num_clips))
    torch.manual_seed(0)
    untrained = TinyTask().state_dict()
    assert all(torch.equal(v, untrained[k]) for k, v in trained.state_dict().items())
    assert "loss" not in read_metrics(tmp_path / "small" / "metrics.jsonl")[0]
