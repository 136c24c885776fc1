import io

import pytest
from rich.console import Console

from videokd.cli.prepare.index_summary import show_summary
from videokd.data.lists.media import MediaInfo, MediaTable


@pytest.fixture
def show():
    """show(files): what is printed of them, through a stream that takes UTF-8 only."""

    def run(files):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        show_summary({"TOY": MediaTable.from_rows(files)}, Console(file=stream, width=200))
        stream.seek(0)
        return stream.read()

    return run


def row_of(text):
    (row,) = [line for line in text.splitlines() if "TOY \u2502" in line]
    return [cell.strip() for cell in row.split("\u2502")[1:-1]]


def test_numbers_are_over_the_videos_that_can_be_used(show):
    good = [
        MediaInfo(f"{n}.mp4", 2**29, 1, "", frames, 25.0, 1800.0, 48, 64, "h264", "mov", n == 0)
        for n, frames in enumerate((10, 30, 20))
    ]
    text = show([*good, MediaInfo("bad.mp4", 2**29, 1, "empty file")])
    assert row_of(text) == [
        *("TOY", "4", "2.00", "1.50", "10 / 20 / 30", "25 (3)", "64x48 (3)", "mov/h264 (3)", "1"),
    ]
    assert "TOY: the frames of 1 videos had to be counted by decoding\n" in text


def test_the_rarer_of_many_rates_are_counted_only(show):
    rates = [29.97003, 25.0, 25.0, 24.0, 24.0, 24.0, 15.0]
    files = [MediaInfo(f"{n}", num_frames=1, fps=fps) for n, fps in enumerate(rates)]
    text = show(files)
    rows = [line.split("\u2502")[6].strip() for line in text.splitlines() if "\u2502" in line]
    assert rows == ["24 (3)", "25 (2)", "29.97 (1)", "1 others"]


def test_causes_are_counted_each_with_its_first_file_whatever_its_name(show):
    text = show(
        [
            MediaInfo("[b] \udcff.avi", cause="hung"),
            MediaInfo("a.avi", cause="empty file"),
            MediaInfo("c.avi", cause="hung"),
        ]
    )
    assert "TOY: 2 cannot be used: hung (first: [b] \\udcff.avi)\n" in text
    assert "TOY: 1 cannot be used: empty file (first: a.avi)\n" in text


def test_an_empty_dataset_has_a_row_too(show):
    assert row_of(show([])) == ["TOY", "0", "0.00", "0.00", "-", "-", "-", "-", "0"]
