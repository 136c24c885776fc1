"""A training's own record of how it was made, which no later call rewrites."""

import signal

import pytest

from videokd.engine.stop import Stopped
from videokd.pipeline import train as train_module
from videokd.pipeline.experiment import run_experiment
from videokd.pipeline.run import open_run_directory
from videokd.pipeline.train import run_training
from videokd.utils.io import read_json

SMALL = {"datasets": ("UCF",), "BASELINES": [], "is_dry": False}


def _calls(run, training):
    return read_json(run.plan.path(training) / "training.json")["calls"]


def test_a_training_records_the_call_that_made_it(make_run, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tools/train_net.py", "--stage", "experts"])
    open_run_directory(make_run(**SMALL))
    run = make_run("DATA_LOADER.TIMEOUT_SEC", 77.0, **SMALL)
    training = run.plan.find("experts/UCF")
    run_training(run, training)
    (call,) = _calls(run, training)
    assert call["command"] == "python tools/train_net.py --stage experts"
    assert call["overrides"] == {"DATA_LOADER.TIMEOUT_SEC": 77.0}
    assert call["environment"]["num_threads"] == 1
    assert 0 < call["seconds"] < 600
    assert call["peak_memory_gib"]["host"] > 0.05


def test_what_a_signal_stopped_has_the_calls_of_both_processes(make_run, monkeypatch):
    run = make_run(**SMALL)
    training = run.plan.find("experts/UCF")
    with run.stop, monkeypatch.context() as patch:
        patch.setattr(
            train_module,
            "validate_training",
            lambda *args: signal.raise_signal(signal.SIGINT) or {"val_top1_UCF": 1.0},
        )
        with pytest.raises(Stopped, match="^$"):
            run_training(run, training)
    first = _calls(run, training)
    run = make_run(**SMALL)
    run_training(run, training)
    calls = _calls(run, training)
    assert calls[:1] == first
    assert len(calls) == 2
    seconds = read_json(run.plan.path(training) / "training.json")["seconds"]
    assert seconds == pytest.approx(sum(call["seconds"] for call in calls), abs=0.1)


def test_later_calls_rewrite_nothing_of_it(make_run):
    run = make_run("SOLVER.MAX_EPOCH", 1, **SMALL)
    open_run_directory(run)
    for stage in ("experts", "report"):
        run_experiment(run, stage)
    files = [run.plan.path(run.plan.find("experts/UCF")) / "training.json"]
    files += [run.folder / "config.yaml", run.folder / "results.json", run.folder / "report.html"]
    before = [path.read_bytes() for path in files]
    words = ("SOLVER.MAX_EPOCH", 1, "TEST.NUM_ENSEMBLE_VIEWS", 9, "DATA_LOADER.TIMEOUT_SEC", 5.0)
    later = make_run(*words, **SMALL)
    open_run_directory(later)
    for stage in ("experts", "report"):
        run_experiment(later, stage)
    assert [path.read_bytes() for path in files] == before
