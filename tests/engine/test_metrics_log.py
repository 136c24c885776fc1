from videokd.engine.metrics_log import MetricsLog, read_metrics


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
