from pathlib import Path

import pytest

from videokd.cli.prepare.prepare import main
from videokd.utils.errors import InputError

REAL = Path(__file__).resolve().parents[4] / "shared" / "annotations"


@pytest.fixture
def run(capsys):
    """run(*words): run the command; the last line that it prints."""

    def run_count(*words):
        assert main(["count", *map(str, words)]) == 0
        # Warnings come before it.
        return capsys.readouterr().out.splitlines()[-1]

    return run_count


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/annotations is not here")
@pytest.mark.parametrize(
    ("words", "counts"),
    [
        (["ucf101"], "train=9537 test=3783 classes=101"),
        (["ucf101", "--split-number", 3], "train=9624 test=3696 classes=101"),
        (["hmdb51", "--split-number", 2], "train=3570 test=1530 classes=51"),
    ],
)
def test_the_real_lists_are_counted(run, words, counts):
    assert run("--format", *words, "--annotations", REAL / words[0]) == counts


def test_a_part_whose_list_is_absent_is_called_so(run, tmp_path):
    (tmp_path / "val.csv").write_text("label,youtube_id,time_start,time_end\na,x,0,10\n")
    words = ("--format", "kinetics", "--annotations", tmp_path)
    assert run(*words) == "train=absent test=1 classes=1"


def test_missing_videos_are_counted_and_written_where_a_root_is_given(run, tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "train.csv").write_text("a.mp4 0\nb.mp4 0\nc.mp4 0\n")
    words = ["--format", "list", "--annotations", tmp_path, "--root", tmp_path]
    assert run(*words) == "train=3 test=absent classes=1 missing=2"
    assert run(*words, "--missing", tmp_path / "missing.txt").endswith(" missing=2")
    assert (tmp_path / "missing.txt").read_text() == "b.mp4\nc.mp4\n"


def test_folders_are_counted_in_their_root(run, tmp_path):
    for path in ("train/a/x.mp4", "test/a/y.mp4"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    assert run("--format", "folder", "--root", tmp_path) == "train=1 test=1 classes=1"


def test_the_missing_cannot_be_written_without_a_root(run, tmp_path):
    with pytest.raises(InputError, match="--missing needs --root"):
        run("--format", "ucf101", "--annotations", tmp_path, "--missing", tmp_path / "x")
