import json
import sys
from types import SimpleNamespace

import pytest

from videokd.engine.loggers import check_loggers, make_loggers
from videokd.engine.metrics_log import MetricsLog, read_metrics
from videokd.utils.errors import InputError


def _line(step, **values):
    return {"step": step, "loss": step / 8, "lr": 0.5, "eta_sec": 2.0, **values}


def _write(folder, names, start_step, steps):
    folder.mkdir(parents=True, exist_ok=True)
    loggers = make_loggers(names, folder, "students/UCF")
    log = MetricsLog(folder / "metrics.jsonl", start_step, loggers)
    for step in steps:
        log.write(_line(step))
        if step % 2 == 0:
            log.write({"step": step, "val_top1_a": 10.0 * step})
    for receiver in loggers:
        receiver.close()


@pytest.fixture
def read_board():
    """``read_board(folder)``: tag -> [(step, value)], as TensorBoard shows the folder."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder):
        board = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
        return {
            tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in board.scalars.Keys()
        }

    return read


def test_tensorboard_shows_each_number_of_each_line_at_its_step(tmp_path, read_board):
    _write(tmp_path, ["tensorboard"], 0, [1, 2])
    assert read_board(tmp_path) == {
        "train/loss": [(1, 1 / 8), (2, 2 / 8)],
        "train/lr": [(1, 0.5), (2, 0.5)],
        "speed/eta_sec": [(1, 2.0), (2, 2.0)],
        "val/val_top1_a": [(2, 20.0)],
    }


@pytest.mark.parametrize("resumed_at", [[2], [4, 2], [0], [3, 3, 5]])
def test_tensorboard_shows_a_resumed_training_as_an_uninterrupted_one(
    tmp_path, read_board, resumed_at
):
    # Every process but the last is killed three steps after the checkpoint that the next begins at.
    starts = [0, *resumed_at]
    for start, next_start in zip(starts, [*resumed_at, None], strict=True):
        stop = 9 if next_start is None else next_start + 4
        _write(tmp_path / "parts", ["tensorboard"], start, range(start + 1, stop))
    _write(tmp_path / "whole", ["tensorboard"], 0, range(1, 9))
    assert read_board(tmp_path / "parts") == read_board(tmp_path / "whole")
    assert len(read_metrics(tmp_path / "parts" / "metrics.jsonl")) == 12


def test_steps_that_are_not_logged_again_are_forgotten(tmp_path, read_board):
    # The first process logged every step; the second, from step 2 on, every fourth.
    _write(tmp_path, ["tensorboard"], 0, [1, 2, 3])
    _write(tmp_path, ["tensorboard"], 2, [4])
    assert [step for step, _ in read_board(tmp_path)["train/loss"]] == [1, 2, 4]


def test_a_record_that_was_cut_off_costs_no_other(tmp_path, read_board):
    _write(tmp_path, ["tensorboard"], 0, [1, 2, 3])
    (events,) = tmp_path.glob("events.*")
    events.write_bytes(events.read_bytes()[:-5])
    _write(tmp_path, ["tensorboard"], 2, [3])
    assert [step for step, _ in read_board(tmp_path)["train/loss"]] == [1, 2, 3]


def test_a_training_may_go_back_within_one_process(tmp_path, read_board):
    loggers = make_loggers(["tensorboard"], tmp_path, "joint")
    for start, stop in ((0, 4), (2, 6)):
        log = MetricsLog(tmp_path / "metrics.jsonl", start, loggers)
        for step in range(start + 1, stop):
            log.write(_line(step))
    assert [step for step, _ in read_board(tmp_path)["train/loss"]] == [1, 2, 3, 4, 5]


class FakeRun:
    """What the server of wandb does with a run: a step that is behind the last one is ignored."""

    def __init__(self):
        self.lines, self.num_finished = {}, 0

    def log(self, values, step):
        if step >= max(self.lines, default=0):
            self.lines.setdefault(step, {}).update(values)

    def finish(self):
        self.num_finished += 1


@pytest.fixture
def wandb(monkeypatch):
    """A stub of wandb: ``runs`` by id, ``calls`` of init."""
    stub = SimpleNamespace(runs={}, calls=[])

    def init(**options):
        stub.calls.append(options)
        return stub.runs.setdefault(options["id"], FakeRun())

    stub.init = init
    monkeypatch.setitem(sys.modules, "wandb", stub)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return stub


def test_wandb_goes_on_with_one_run_per_training(tmp_path, wandb):
    folder = tmp_path / "mlfd" / "students" / "UCF"
    _write(folder, ["wandb"], 0, [1, 2, 3, 4])
    _write(folder, ["wandb"], 2, [3, 4, 5])
    (run,) = wandb.runs.values()
    assert list(run.lines) == [1, 2, 3, 4, 5]
    assert run.lines[4] == {
        **{"train/loss": 4 / 8, "train/lr": 0.5, "speed/eta_sec": 2.0, "val/val_top1_a": 40.0}
    }
    assert run.num_finished == 2
    first, second = wandb.calls
    assert first == second
    assert first["name"] == "students/UCF"
    assert first["group"] == "mlfd"
    assert first["project"] == "videokd"
    assert first["dir"] == str(folder)
    assert first["resume"] == "allow"


def test_going_back_within_one_process_keeps_the_run_of_wandb(tmp_path, wandb):
    (receiver,) = make_loggers(["wandb"], tmp_path, "joint")
    for start in (0, 2):
        receiver.begin(start)
        for step in range(start + 1, 5):
            receiver.write(_line(step))
    receiver.close()
    assert len(wandb.calls) == 1
    (run,) = wandb.runs.values()
    assert list(run.lines) == [1, 2, 3, 4]
    assert run.num_finished == 1


def test_two_trainings_are_two_runs_of_the_project_that_the_environment_names(
    tmp_path, wandb, monkeypatch
):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    for name in ("a", "b"):
        _write(tmp_path / "students" / name, ["wandb"], 0, [1])
    assert len(wandb.runs) == 2
    assert {call["project"] for call in wandb.calls} == {"mine"}


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path, name):
    monkeypatch.setitem(sys.modules, name, None)
    message = rf"TRAIN.LOGGERS {name} .*pip install -e '.\[{name}\]'.* take {name}"
    with pytest.raises(InputError, match=message):
        check_loggers([name])
    with pytest.raises(InputError, match=message):
        make_loggers([name], tmp_path, "joint")


def test_no_logger_needs_no_package(monkeypatch, tmp_path):
    for name in ("tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    assert make_loggers([], tmp_path, "joint") == ()


def test_mirrors_change_nothing_about_the_file(tmp_path, wandb):
    _write(tmp_path / "with", ["wandb"], 0, [1, 2])
    _write(tmp_path / "without", [], 0, [1, 2])
    texts = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("with", "without")]
    assert texts[0] == texts[1]
    assert json.loads(texts[0].splitlines()[0]) == _line(1)
