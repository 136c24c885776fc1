import pytest

from videokd.engine.metrics_log import MetricsLog, find_best, read_metrics


def _write(path, start_step, steps):
    log = MetricsLog(path, start_step)
    for step in steps:
        log.write({"step": step, "loss": step / 7})


def test_lines_come_back_exactly(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    _write(path, 0, [1, 2])
    assert read_metrics(path) == [{"step": 1, "loss": 1 / 7}, {"step": 2, "loss": 2 / 7}]


def test_lines_after_the_start_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    _write(path, 0, [1, 2, 2, 3, 4])
    _write(path, 2, [3])
    assert [line["step"] for line in read_metrics(path)] == [1, 2, 2, 3]


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    _write(path, 0, [1, 2])
    path.write_bytes(path.read_bytes()[:-5])
    assert [line["step"] for line in read_metrics(path)] == [1]
    _write(path, 2, [2])
    assert [line["step"] for line in read_metrics(path)] == [1, 2]


def test_no_file_holds_no_lines(tmp_path):
    assert read_metrics(tmp_path / "absent.jsonl") == []


@pytest.mark.parametrize(
    ("lines", "best"),
    [
        ([], None),
        ([{"step": 2, "loss": 1.0}], None),
        ([{"step": 2, "val_top1_A": 0.0}], (2, 0.0)),
        # Means over the datasets; the first of equals.
        (
            [
                {"step": 2, "val_top1_A": 90.0, "val_top1_B": 10.0},
                {"step": 4, "val_top1_A": 50.0, "val_top1_B": 60.0, "val_loss": 99.0},
                {"step": 6, "val_top1_A": 60.0, "val_top1_B": 50.0},
            ],
            (4, 55.0),
        ),
    ],
)
def test_the_best_validation_is_known_at_once_and_after_a_restart(tmp_path, lines, best):
    assert find_best(lines) == best
    log = MetricsLog(tmp_path / "m.jsonl", 0)
    for line in lines:
        log.write(line)
    step = None if best is None else best[0]
    assert log.best_step == step
    assert MetricsLog(tmp_path / "m.jsonl", 100).best_step == step


def test_a_validation_after_the_checkpoint_does_not_count(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl", 0)
    log.write({"step": 1, "val_top1": 10.0})
    log.write({"step": 3, "val_top1": 90.0})
    assert MetricsLog(tmp_path / "m.jsonl", 2).best_step == 1


def test_a_log_is_written_again_only_when_a_line_is_to_be_dropped(tmp_path):
    path = tmp_path / "m.jsonl"
    _write(path, 0, [1, 2, 3])
    before = path.stat().st_ino
    MetricsLog(path, 3)
    assert path.stat().st_ino == before
    MetricsLog(path, 2)
    assert path.stat().st_ino != before
    assert [line["step"] for line in read_metrics(path)] == [1, 2]


@pytest.mark.parametrize("torn", ['{"step": 4, "lo', '{"step": 4}'])
def test_what_follows_a_line_that_was_cut_off_is_whole(tmp_path, torn):
    path = tmp_path / "m.jsonl"
    _write(path, 0, [1, 2, 3])
    path.write_text(path.read_text() + torn)
    MetricsLog(path, 4).write({"step": 5})
    assert [line["step"] for line in read_metrics(path)][-1] == 5
    assert [line["step"] for line in read_metrics(path)][:3] == [1, 2, 3]
