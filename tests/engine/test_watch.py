import gzip
import json
import logging
import time

import pytest
import torch
from torch import nn

from videokd.engine.frozen_clock import FrozenClock
from videokd.engine.meters import Meters
from videokd.engine.profiler import StepProfiler
from videokd.engine.watch import Watch

CPU = torch.device("cpu")


class Slow(nn.Module):
    """Takes ``seconds`` of the clock ``now``."""

    def __init__(self, now, seconds):
        super().__init__()
        self.now, self.seconds = now, seconds

    def forward(self, x):
        self.now[0] += self.seconds
        return x


@pytest.fixture
def now(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_share_of_frozen_networks_leaves_evaluations_out(now):
    teachers, student = [Slow(now, 1.0), Slow(now, 2.0)], Slow(now, 3.0)
    clock = FrozenClock(teachers, CPU)
    clock.attach()
    meters = Meters(CPU, clock)
    for _ in range(2):
        for network in (*teachers, student):
            network(0)
    with meters.paused():
        teachers[1](0)
    assert meters.summarise()["teacher_share"] == pytest.approx(6 / 12)
    teachers[0](0)
    student(0)
    assert meters.summarise()["teacher_share"] == pytest.approx(1 / 4)
    clock.detach()
    teachers[0](0)
    assert meters.summarise()["teacher_share"] == 0


def test_a_forward_that_fails_is_not_counted(now):
    network = Slow(now, 1.0)
    clock = FrozenClock([network], CPU)
    clock.attach()
    network.seconds = "broken"
    with pytest.raises(TypeError, match="unsupported operand"):
        network(0)
    now[0] += 50.0
    network.seconds = 1.0
    network(0)
    assert clock.take_sec() == 1.0


def test_a_training_without_frozen_networks_has_no_share_of_them():
    assert "teacher_share" not in Meters(CPU, FrozenClock([], CPU)).summarise()


def test_networks_are_left_as_they_were(tmp_path):
    network = nn.Identity()
    with Watch(tmp_path, "a", device=CPU, frozen=[network]):
        assert network._forward_hooks
        assert network._forward_pre_hooks
    assert not network._forward_hooks
    assert not network._forward_pre_hooks


def test_the_time_left_is_of_the_pace_of_this_process(now, tmp_path):
    watch = Watch(tmp_path, "a", device=CPU)
    now[0] = 100.0
    watch.begin(40)
    now[0] = 130.0
    assert watch.eta_sec(50, 60) == pytest.approx(30.0)
    assert watch.eta_sec(60, 60) == 0.0


def _train(profiler, start, num_steps):
    """Do a product per step whose size is the number of the step; return what is traced."""
    profiler.after(start)
    for step in range(start + 1, num_steps + 1):
        torch.ones(step, 2) @ torch.ones(2, 3)
        profiler.after(step)
    profiler.close()


def _traced(path):
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    return [e["args"]["Input Dims"][0][0] for e in events if e.get("name") == "aten::mm"]


@pytest.mark.parametrize(
    ("start", "span", "name", "traced"),
    [
        (0, (1, 2), "profile-steps-1-2.json.gz", [1, 2]),
        (0, (3, 4), "profile-steps-3-4.json.gz", [3, 4]),
        (0, (6, 6), "profile-steps-6-6.json.gz", [6]),
        (3, (3, 5), "profile-steps-4-5.json.gz", [4, 5]),
    ],
)
def test_a_trace_holds_the_steps_that_were_asked_for(tmp_path, start, span, name, traced):
    first, last = span
    _train(StepProfiler(tmp_path, first=first, last=last, device=CPU), start, 6)
    (path,) = tmp_path.iterdir()
    assert path.name == name
    assert _traced(path) == traced


def test_steps_that_were_done_before_are_not_traced(tmp_path):
    _train(StepProfiler(tmp_path, first=1, last=2, device=CPU), 2, 4)
    assert not list(tmp_path.iterdir())


def test_a_training_that_ends_too_early_leaves_no_trace_and_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        _train(StepProfiler(tmp_path, first=3, last=9, device=CPU), 0, 4)
    assert "the training ended before step 9: no trace was written" in caplog.text
    assert not list(tmp_path.iterdir())
    assert not torch.autograd._profiler_enabled()
    _train(StepProfiler(tmp_path, first=1, last=1, device=CPU), 0, 1)
    assert len(list(tmp_path.iterdir())) == 1


def test_validation_results_are_logged_with_their_step(tmp_path, caplog):
    with caplog.at_level("INFO", logger="videokd"):
        for is_silent in (False, True):
            options = {"device": torch.device("cpu"), "is_silent": is_silent}
            with Watch(tmp_path, "joint", **options) as watch:
                log = watch.begin(0)
                log.write({"step": 2, "loss": 1.0})
                log.write({"step": 2, "val_top1_UCF": 43.75, "val_top1_HMDB": 20.0})
    assert caplog.messages == ["joint: step 2: val top-1 UCF 43.8 %, HMDB 20.0 %"]
