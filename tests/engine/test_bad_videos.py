import csv

import pytest

from videokd.data.batch import BadVideo
from videokd.engine.bad_videos import BadVideoList


@pytest.fixture
def path(tmp_path):
    return tmp_path / "unit" / "bad_videos.csv"


def read(path):
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [tuple(row) for row in csv.reader(file)]


def video(path, cause="cut off", dataset_id=0):
    return BadVideo(dataset_id, 7, path, cause)


HEADER = ("dataset", "path", "cause", "step")


def test_each_video_has_one_row_with_its_cause_and_first_step(path):
    videos = BadVideoList(path, ["UCF", "HMDB"])
    assert not path.exists()
    videos.add(video("a.avi"), 3)
    videos.add(video("a.avi", dataset_id=1), 4)
    videos.add(video("a.avi", cause="another"), 5)
    assert read(path) == [
        HEADER,
        ("UCF", "a.avi", "cut off", "3"),
        ("HMDB", "a.avi", "cut off", "4"),
    ]


def test_a_restart_adds_what_is_new(path):
    BadVideoList(path, ["UCF"]).add(video("a.avi"), 3)
    again = BadVideoList(path, ["UCF"])
    again.add(video("a.avi"), 2)
    again.add(video("b.avi"), 4)
    assert [row[1:] for row in read(path)[1:]] == [
        ("a.avi", "cut off", "3"),
        ("b.avi", "cut off", "4"),
    ]


@pytest.mark.parametrize(
    "name",
    ['with, comma "and quotes".avi', "line\u2028break.avi", "not utf-8 \udce9.avi", " a;#!.avi"],
    ids=["quotes", "line break", "not UTF-8", "signs"],  # a report carries no lone surrogate
)
def test_names_of_every_kind_come_back(path, name):
    for _ in range(2):
        BadVideoList(path, ["UCF"]).add(video(name), 1)
    assert read(path) == [HEADER, ("UCF", name, "cut off", "1")]


def test_a_row_is_one_line(path):
    for _ in range(2):
        BadVideoList(path, ["UCF"]).add(video("two\nlines\r.avi", cause="a\nb"), 1)
    assert read(path) == [HEADER, ("UCF", r"two\nlines\r.avi", r"a\nb", "1")]


@pytest.mark.parametrize("num_bytes", range(1, 18))
def test_a_torn_last_row_is_written_anew(path, num_bytes):
    videos = BadVideoList(path, ["UCF"])
    videos.add(video("a.avi"), 1)
    videos.add(video("b,.avi"), 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-num_bytes])
    BadVideoList(path, ["UCF"]).add(video("b,.avi"), 2)
    assert path.read_bytes() == whole


def test_a_torn_header_is_written_anew(path):
    path.parent.mkdir()
    path.write_bytes(b"dataset,pa")
    BadVideoList(path, ["UCF"]).add(video("a.avi"), 1)
    assert read(path) == [HEADER, ("UCF", "a.avi", "cut off", "1")]
