import io
import time

from rich.console import Console

from videokd.pipeline.progress import progress_bar


def _lines(monkeypatch, updates, total):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO())
    with progress_bar(console, "students/UCF", total) as bar:
        for seconds, step, text in updates:
            now[0] = float(seconds)
            bar.update(step, text)
    return console.file.getvalue().splitlines()


def test_in_a_file_there_is_a_line_about_every_ten_seconds_and_one_at_the_end(monkeypatch):
    updates = [(1, 1, "loss 2"), (6, 2, ""), (11, 3, ""), (16, 4, "loss 1"), (18, 5, "")]
    assert _lines(monkeypatch, updates, 5) == [
        "students/UCF: 3/5  loss 2  11 s, 10 s left",
        "students/UCF: 5/5  loss 1  18 s, 0 s left",
    ]


def test_the_time_left_of_a_training_that_goes_on_is_of_its_own_pace(monkeypatch):
    updates = [(20, 901, ""), (32, 903, "loss 1")]
    assert _lines(monkeypatch, updates, 1000) == [
        "students/UCF: 901/1000    20 s, ? s left",
        "students/UCF: 903/1000  loss 1  32 s, 582 s left",
    ]
