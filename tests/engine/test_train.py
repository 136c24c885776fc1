import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny_training import SETTINGS, Progress, TinyTask, is_equal, last_checkpoint, stop_at

from videokd.engine.meters import MEASURED
from videokd.engine.metrics_log import read_metrics
from videokd.engine.stop import Stopped
from videokd.utils.errors import InputError, RunError


def _lines(folder):
    lines = read_metrics(folder / "metrics.jsonl")
    return [{key: x for key, x in line.items() if key not in MEASURED} for line in lines]


@pytest.mark.parametrize("decay", [None, 0.2])
@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_stopped_run_goes_on_bit_for_bit(run, tmp_path, step, decay):
    whole = run("whole", decay=decay)
    with pytest.raises(Stopped, match="^$"):
        run("halves", decay=decay, progress=stop_at(step))
    torch.manual_seed(123)
    progress = Progress()
    resumed = run("halves", decay=decay, progress=progress)
    assert progress.steps == list(range(step + 1, 7))
    assert is_equal(resumed.state_dict(), whole.state_dict())
    assert is_equal(
        last_checkpoint(tmp_path / "halves").model, last_checkpoint(tmp_path / "whole").model
    )
    assert last_checkpoint(tmp_path / "halves").state == last_checkpoint(tmp_path / "whole").state
    assert _lines(tmp_path / "halves") == _lines(tmp_path / "whole")


def test_an_average_is_of_the_weights_after_each_step(run):
    task, progress, seen = TinyTask(), Progress(), []
    expected = task.net[0].weight.detach().clone()
    progress.update = lambda step, text: seen.append(task.net[0].weight.detach().clone())
    average = run("average", task=task, progress=progress, decay=0.3)
    assert len(seen) == 6
    for decay, weight in zip((0.1, 2 / 11, 0.25, 0.3, 0.3, 0.3), seen, strict=True):
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(average.net[0].weight, expected)


def test_an_average_changes_nothing_about_the_training(run, tmp_path):
    run("average", decay=0.9)
    assert is_equal(last_checkpoint(tmp_path / "average").model, run("plain").state_dict())
    assert _lines(tmp_path / "average") == _lines(tmp_path / "plain")


def test_a_checkpoint_without_an_average_has_no_trace_of_one(run, tmp_path):
    run("plain")
    folder = tmp_path / "plain" / "checkpoints" / "step-6"
    names = {"model.safetensors", "optimizer.pt", "state.json", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert last_checkpoint(tmp_path / "plain").state.keys() == {
        "step",
        "bad_videos",
        "meters",
        "update",
    }


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [(None, 0.9, "only this training has an average"), (0.9, None, "only the checkpoint has an")],
)
def test_an_average_cannot_come_or_go_in_the_middle_of_a_training(run, first, second, message):
    with pytest.raises(Stopped, match="^$"):
        run("run", decay=first, progress=stop_at(2))
    with pytest.raises(InputError, match=message):
        run("run", decay=second)


def test_tasks_are_told_the_share_of_the_training_that_is_done(run):
    class ListeningTask(TinyTask):
        def forward(self, batch, progress):
            told.append(progress)
            return super().forward(batch, progress)

    told = []
    settings = replace(SETTINGS, num_steps=4)
    with pytest.raises(Stopped, match="^$"):
        run("told", settings=settings, task=ListeningTask(), progress=stop_at(3))
    run("told", settings=settings, task=ListeningTask())
    assert told == [0.0, 0.25, 0.5, 0.75]


def test_scaled_rates_follow_the_schedule_and_the_log_shows_the_base(run, tmp_path):
    settings = replace(SETTINGS, num_steps=2, warmup_steps=0, log_period=1)
    scales = {"net.0": 0.25}
    with pytest.raises(Stopped, match="^$"):
        run("slow", settings=settings, progress=stop_at(1), lr_scales=scales)
    run("slow", settings=settings, lr_scales=scales)
    lines = read_metrics(tmp_path / "slow" / "metrics.jsonl")
    assert [line["lr"] for line in lines if "lr" in line] == pytest.approx([0.01, 0.005])
    saved = last_checkpoint(tmp_path / "slow").optimizer["param_groups"]
    assert [group["lr"] for group in saved] == pytest.approx([0.005, 0.005, 0.00125, 0.00125])


def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint_bit_for_bit(run, tmp_path):
    whole = run("whole")

    def die():
        raise MemoryError("killed")

    always = replace(SETTINGS, checkpoint_period_sec=1e-9)
    with pytest.raises(MemoryError, match="killed"):
        run("killed", settings=always, progress=Progress(4, die))
    assert last_checkpoint(tmp_path / "killed").state["step"] == 3
    resumed = run("killed")
    assert is_equal(resumed.state_dict(), whole.state_dict())
    assert _lines(tmp_path / "killed") == _lines(tmp_path / "whole")


def test_a_finished_run_is_not_trained_further(run, tmp_path):
    first = run("done")
    lines = read_metrics(tmp_path / "done" / "metrics.jsonl")
    progress = Progress()
    again = run("done", progress=progress)
    assert progress.steps == []
    assert read_metrics(tmp_path / "done" / "metrics.jsonl") == lines
    assert is_equal(again.state_dict(), first.state_dict())


def test_a_signal_at_the_last_step_does_not_stop_a_finished_run(run, tmp_path):
    run("done", settings=replace(SETTINGS, eval_period=0), progress=stop_at(6))
    assert last_checkpoint(tmp_path / "done").state["step"] == 6


def test_the_log_holds_the_periods_that_were_asked_for(run, tmp_path):
    run("log", settings=replace(SETTINGS, num_steps=5, log_period=2, eval_period=4))
    lines = read_metrics(tmp_path / "log" / "metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 5]
    assert [line["step"] for line in lines if "val" in line] == [4, 5]
    assert lines[0].keys() == {
        *("step", "lr", "bad_videos", "loss", "ce", "twice", "top1", "grad_norm", "grad_norm_max"),
        *("clips_per_sec", "data_wait", "memory_mib", "eta_sec", "skipped_steps"),
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
        task(make_batch(num_frames=2, crop_size=4, seed=step), step / 2).loss.backward()
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

    def forward(self, batch, progress):
        output = super().forward(batch, progress)
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
        r"the loss is nan at step 3, learning rate 0\.00\d+: ce [\d.]+, twice inf; .* not finite; "
        r"dataset ids \[0, 0, 0, 0\], record ids \[0, 1, 2, 3\]; try a lower SOLVER.BASE_LR"
    )
    with pytest.raises(RunError, match=message):
        run("nan", task=BreakingTask("loss"))
    assert last_checkpoint(tmp_path / "nan") is None


@pytest.mark.parametrize(
    ("how", "name"), [("gradient", r"net\.0\.bias"), ("statistics", r"net\.1\.running_var")]
)
def test_what_is_not_finite_never_reaches_a_checkpoint(run, tmp_path, how, name):
    always = replace(SETTINGS, checkpoint_period_sec=1e-9)
    with pytest.raises(RunError, match=rf"loss is [\d.]+ at step 3, .* of {name} not finite"):
        run("inf", task=BreakingTask(how), settings=always)
    assert last_checkpoint(tmp_path / "inf").state["step"] == 3
