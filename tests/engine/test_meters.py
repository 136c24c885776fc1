import json
import time
from types import SimpleNamespace

import pytest
import torch

from videokd.engine.meters import MEASURED, Meters


def _output(loss, correct, **counts):
    return SimpleNamespace(
        loss=torch.tensor(loss, requires_grad=True),
        correct=torch.tensor(correct),
        terms={"ce": torch.tensor(2 * loss), **{name: torch.tensor(loss) for name in counts}},
        counts={name: torch.tensor(count) for name, count in counts.items()},
    )


def _summary(meters):
    line = meters.summarise()
    return {name: line[name] for name in line if name not in MEASURED}


def test_losses_and_hits_are_means_over_clips():
    meters = Meters(torch.device("cpu"))
    meters.add(_output(1.0, [True, False]), 2)
    meters.add(_output(4.0, [True, True, True, False, False, False]), 6)
    assert _summary(meters) == {"loss": 3.25, "ce": 6.5, "top1": 50.0}


def test_a_term_is_the_mean_over_the_clips_that_it_was_computed_of():
    meters = Meters(torch.device("cpu"))
    meters.add(_output(1.0, [True] * 4, ce_a=4, ce_b=0, ce_c=0), 4)
    meters.add(_output(5.0, [True] * 4, ce_a=1, ce_b=3, ce_c=0), 4)
    line = _summary(meters)
    assert line["ce_a"] == (4 * 1.0 + 1 * 5.0) / 5
    assert line["ce_b"] == 5.0
    assert "ce_c" not in line


def test_a_summary_starts_anew():
    meters = Meters(torch.device("cpu"))
    meters.add(_output(1.0, [True]), 1)
    meters.summarise()
    meters.add(_output(3.0, [False]), 1)
    assert _summary(meters) == {"loss": 3.0, "ce": 6.0, "top1": 0.0}
    assert _summary(meters) == {}
    assert Meters.describe(meters.summarise()) == "no readable clip"


def test_norms_of_the_gradient_have_a_mean_and_a_largest_over_the_steps():
    meters = Meters(torch.device("cpu"))
    for norm in (3.0, 5.0, 1.0):
        meters.add_norm(torch.tensor(norm))
    for norm in (7.0, torch.nan, torch.inf):
        meters.add_norm(torch.tensor(norm), torch.tensor(False))
    meters.add_norm(torch.tensor(3.0), torch.tensor(True))
    line = _summary(meters)
    assert (line["grad_norm"], line["grad_norm_max"]) == (3.0, 5.0)
    assert "grad_norm" not in _summary(meters)


def test_memory_is_what_this_process_has(monkeypatch):
    meters = Meters(torch.device("cpu"))
    before = meters.summarise()["memory_mib"]
    blocks = [torch.ones(64, 2**20 // 4), torch.empty(256, 2**20 // 4)]  # the second unwritten
    grown = meters.summarise()["memory_mib"] - before
    assert 60 < grown < 80, len(blocks)


def test_a_state_passed_through_json_goes_on_bit_for_bit():
    outputs = [_output(loss, [loss > 0.5, True], ce_a=1) for loss in torch.rand(7).tolist()]
    whole, first, second = (Meters(torch.device("cpu")) for _ in range(3))
    norms = torch.rand(7).unbind()
    for output, norm in zip(outputs, norms, strict=True):
        whole.add(output, 2)
        whole.add_norm(norm)
    for output, norm in zip(outputs[:3], norms[:3], strict=True):
        first.add(output, 2)
        first.add_norm(norm)
    second.load_state(json.loads(json.dumps(first.state())))
    for output, norm in zip(outputs[3:], norms[3:], strict=True):
        second.add(output, 2)
        second.add_norm(norm)
    assert _summary(second) == _summary(whole)


def test_time_is_split_into_waiting_and_paused(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    meters = Meters(torch.device("cpu"))
    with meters.data_wait():
        now[0] += 1.0
    now[0] += 3.0
    with meters.paused():
        now[0] += 100.0
    meters.add(_output(1.0, [True] * 8), 8)
    line = meters.summarise()
    assert line["clips_per_sec"] == pytest.approx(8 / 4)
    assert line["data_wait"] == pytest.approx(1 / 4)
    assert Meters.describe(line) == "loss 1.000  top1 100.0     2 clips/s  wait  25%"
