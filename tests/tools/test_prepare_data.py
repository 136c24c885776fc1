"""The commands of prepare_data that look at, or rewrite, whole datasets."""

import csv
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videokd.cli.common import run_tool
from videokd.cli.prepare import contact_sheet
from videokd.data.decode import open_video

TOOL = Path(__file__).parents[2] / "tools" / "prepare_data.py"


@pytest.fixture
def tool(monkeypatch, capsys):
    """tool(*words): run the tool as its command line does; its code, and what it wrote."""

    def run(*words):
        spec = importlib.util.spec_from_file_location("prepare_data_tool", TOOL)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", ["prepare_data.py", *map(str, words)])
        with pytest.raises(SystemExit, match=r"^\d+$") as caught:
            run_tool(module.main)
        written = capsys.readouterr()
        return caught.value.code, written.out, written.err

    yield run
    for handler in logging.getLogger("videokd").handlers:
        handler.close()


@pytest.fixture
def dataset(tiny_data, tmp_path):
    """A copy of the UCF-style data that may be damaged: its videos and its lists."""
    folders = tmp_path / "videos", tmp_path / "lists"
    for folder, source in zip(folders, ("UCF-101", "ucfTrainTestlist"), strict=True):
        shutil.copytree(tiny_data / "ucf_style" / source, folder)
    return folders


@pytest.fixture
def check(tool, dataset, tmp_path):
    """check(*words): check the copy in this process; its code, what it wrote, its report."""

    def run(*words):
        where = ["--root", dataset[0], "--format", "ucf101", "--annotations", dataset[1]]
        answer = tool("check", *where, "--output", tmp_path / "report", "--jobs", 1, *words)
        report = tmp_path / "report" / "report.json"
        return *answer, json.loads(report.read_text()) if report.exists() else {}

    return run


def read_bad(folder):
    with (folder / "bad_videos.csv").open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_a_dataset_in_order_is_checked_once(check, tmp_path):
    code, out, _, report = check()
    assert code == 0, out
    assert "ok: every frame of" in out
    assert report["is_ok"]
    assert {f["kind"] for f in report["findings"]} == {"few videos", "other dataset"}
    num_videos = sum(split["listed"] for split in report["splits"])
    journal = tmp_path / "report" / "videos" / "VIDEOS.jsonl"
    assert len(journal.read_text().splitlines()) == num_videos
    code, out, err, _ = check()
    assert code == 0
    assert f"{num_videos} of {num_videos} videos have not changed since" in out + err
    assert len(journal.read_text().splitlines()) == num_videos


def test_every_kind_of_damage_is_found_in_one_run(check, dataset, tmp_path):
    train = sorted(dataset[0].rglob("*_g0[3-9]_*.avi"))
    test = sorted(dataset[0].rglob("*_g01_*.avi"))
    whole = train[0].read_bytes()
    damaged = {
        train[0]: whole[: len(whole) // 2],
        train[1]: b"no video",
        train[2]: test[0].read_bytes(),
        train[3]: b"",
    }
    for path, data in damaged.items():
        path.write_bytes(data)
    train[4].unlink()
    code, out, _, report = check()
    assert code == 1
    bad = {Path(path).name: row for path, row in read_bad(tmp_path / "report").items()}
    problems = ["short", "not a video", "leak", "not a video", "missing"]
    assert {name: row["problem"] for name, row in bad.items()} == {
        path.name: problem for path, problem in zip(train[:5], problems, strict=True)
    }
    assert test[0].name in bad[train[2].name]["cause"]
    assert "not ok: 5 bad of" in out
    assert report["splits"][0]["cleaned"] == report["splits"][0]["listed"] - 5


def test_a_config_is_checked_with_what_its_clips_need(tool, write_config, tmp_path):
    config = write_config(["UCF", "KINETICS"])
    words = ["check", "--cfg", config, "--output", tmp_path / "report", "--jobs", 1]
    overrides = ["STUDENTS.UCF.NUM_FRAMES", 64, "DATA.SHORT_SIDE", 512, "DATA.CROP_SIZE", 64]
    assert tool(*words, *overrides)[0] == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    splits = [(split["dataset"], split["split"]) for split in report["splits"]]
    assert splits == [(d, s) for d in ("UCF", "KINETICS") for s in ("train", "test")]
    num_videos = sum(split["listed"] for split in report["splits"])
    for kind in ("brief", "small"):
        assert sum(f["kind"] == kind for f in report["findings"]) == num_videos
    # The whole training lists, held-out videos included.
    assert report["splits"][0]["listed"] == 24


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say which videos: either --config-file FILE or --root DIR"),
        (["--root", "x", "--cfg", "y"], "say which videos"),
        (["--root", "x", "--format", "ufc101"], "DATASETS.VIDEOS.FORMAT must be one of ucf101"),
        (["--root", "/no/such/folder"], "/no/such/folder is not a folder"),
        (["--root", "x", "--jobs", "-1"], "--jobs must be >= 0"),
        (["--root", "x", "--deadline", "0"], "--deadline > 0"),
    ],
)
def test_what_cannot_be_checked_is_wrong_input(tool, tmp_path, words, message):
    code, _, err = tool("check", "--output", tmp_path, *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_check_that_is_stopped_goes_on(dataset, tmp_path):
    where = ["--root", dataset[0], "--format", "ucf101", "--annotations", dataset[1]]
    command = [
        sys.executable,
        TOOL,
        "check",
        *where,
        "--output",
        tmp_path / "report",
        "--jobs",
        "1",
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    journal = tmp_path / "report" / "videos" / "VIDEOS.jsonl"
    while not (journal.exists() and journal.read_text()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert errors == "stopped; run the same command again to go on\n"
    assert not (tmp_path / "report" / "report.json").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"\d+ of \d+ videos have not changed since", again.stdout + again.stderr)


def test_a_folder_is_resized(tool, dataset, tmp_path):
    sorted(dataset[0].rglob("*.avi"))[0].write_bytes(b"no video")
    words = ["convert", "--input", dataset[0], "--output", tmp_path / "small", "--jobs", 1]
    code, out, _ = tool(*words, "--short-side", 48, "--gop", 4)
    assert code == 1
    assert "1 videos cannot be written" in out
    assert len(read_bad(tmp_path / "small")) == 1
    old = [path.relative_to(dataset[0]) for path in sorted(dataset[0].rglob("*.avi"))]
    new = [path.relative_to(tmp_path / "small") for path in (tmp_path / "small").rglob("*.avi")]
    assert sorted(new) == old[1:]
    with open_video(str(tmp_path / "small" / old[-1])) as reader:
        assert (reader.num_frames, reader.height) == (32, 48)
    # Once the broken file is gone, nothing is left to do and nothing is wrong.
    (dataset[0] / old[0]).unlink()
    code, out, _ = tool(*words, "--short-side", 48, "--gop", 4)
    assert code == 0
    assert f"{len(new)} of {len(new)} videos are written already" in out
    assert read_bad(tmp_path / "small") == {}
    code, _, err = tool(*words, "--short-side", 64)
    assert code == 2
    assert "choose another output folder or delete it" in err


def test_a_folder_is_converted_and_new_names_are_listed(tool, dataset, tmp_path):
    for path in sorted(dataset[0].rglob("*.avi"))[2:]:
        path.unlink()
    (dataset[0] / "list.txt").touch()
    (dataset[0] / "link.avi").symlink_to(tmp_path)
    target = tmp_path / "new"
    words = ["convert", "--input", dataset[0], "--output", target, "--jobs", 1]
    code, out, _ = tool(*words, "--to", "mp4", "--fps", 12.5)
    assert code == 0
    assert "2 videos have another extension" in out
    assert "files left out: 1 (1 .txt), e.g. list.txt" in out
    assert "links left out: 1, e.g. link.avi" in out
    with (target / "renamed.csv").open(newline="") as file:
        renamed = list(csv.DictReader(file))
    for row in renamed:
        assert (dataset[0] / row["old"]).is_file()
        with open_video(str(target / row["new"])) as reader:
            assert (reader.num_frames, reader.fps) == (16, 12.5)
    code, _, err = tool(
        "convert", "--input", dataset[0], "--output", tmp_path / "x", "--to", "webm"
    )
    assert code == 2
    assert ".webm cannot hold h264" in err


@pytest.fixture
def drawn(monkeypatch):
    """The rows of the sheets that are drawn."""
    rows = []
    draw = contact_sheet.draw_sheet

    def note(given, heading):
        rows.append(list(given))
        return draw(given, heading)

    monkeypatch.setattr(contact_sheet, "draw_sheet", note)
    return rows


def test_a_preview_shows_the_first_clips_of_a_training(tool, write_config, drawn, tmp_path):
    config = write_config(["UCF", "HMDB"], DATA={"COLOR_JITTER": 0.4, "RANDOM_FLIP": True})
    words = ["preview", "--cfg", config, "--num", 3]
    assert tool(*words, "--output", tmp_path / "a.png")[0] == 0
    assert tool(*words, "--output", tmp_path / "b.png", "--seed", 0)[0] == 0
    assert tool(*words, "--output", tmp_path / "c.png", "--seed", 1)[0] == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] >= 720
    same, again, other = drawn
    assert [row.title.split()[0] for row in same] == ["UCF"] * 3 + ["HMDB"] * 3
    assert [row.title for row in same] == [row.title for row in again]
    assert [row.title for row in same] != [row.title for row in other]
    for row in same:
        assert re.match(r"\w+   \w+   .*\.avi$", row.title)
        assert re.match(r"crop \d+x\d+ at x \d+, y \d+ ", row.detail)
        assert "brightness" in row.detail
        assert np.diff(row.numbers).tolist() == [4, 4, 4]
        plain, augmented = row.strips
        assert plain.frames.shape == augmented.frames.shape == (4, 32, 32, 3)
        assert not np.array_equal(plain.frames, augmented.frames)


def test_a_preview_is_the_same_wherever_clips_are_cut(tool, write_config, drawn, tmp_path):
    config = write_config(["UCF"])
    words = ["preview", "--cfg", config, "--num", 2, "--output", tmp_path / "a.png"]
    assert tool(*words)[0] == 0
    assert tool(*words, "DATA.AUGMENT_ON", "device")[0] == 0
    here, there = drawn
    assert [row.title for row in here] == [row.title for row in there]
    for one, other in zip(here, there, strict=True):
        for strip, same in zip(one.strips, other.strips, strict=True):
            assert np.array_equal(strip.frames, same.frames)


def test_a_preview_shows_the_views_of_a_test(tool, write_config, drawn, tmp_path):
    config = write_config(["UCF", "KINETICS"])
    words = ["preview", "--cfg", config, "TEST.NUM_SPATIAL_CROPS", 3, "--split", "test"]
    output = ["--dataset", "KINETICS", "--num", 2, "--output", tmp_path / "a.png"]
    assert tool(*words, *output)[0] == 0
    assert len(drawn[0]) == 2
    for row in drawn[0]:
        assert row.title.startswith("KINETICS   ")
        assert [strip.label for strip in row.strips] == [
            f"clip {n} crop {k}" for n in range(2) for k in range(3)
        ]


def test_a_preview_of_a_test_follows_the_clip_rule(tool, write_config, drawn, tmp_path):
    words = ["preview", "--cfg", write_config(["UCF"]), "--split", "test", "--num", 2]
    for rule in ("segment_centres", "end_inclusive"):
        output = ["--output", tmp_path / f"{rule}.png"]
        assert tool(*words, f"TEST.CLIP_RULE={rule}", *output)[0] == 0
    centres, ends = drawn
    for one, other in zip(centres, ends, strict=True):
        assert one.title == other.title
        # The first of two clips starts at the first frame, or within the first half.
        assert not np.array_equal(one.strips[0].frames, other.strips[0].frames)
        assert "end_inclusive" in other.detail


def test_a_preview_says_what_cannot_be_read(tool, write_config, dataset, drawn, tmp_path):
    videos, lists = dataset
    for path in videos.rglob("*.avi"):
        path.write_bytes(b"")
    config = write_config(["UCF"])
    overrides = ["DATASETS.UCF.ROOT", videos, "DATASETS.UCF.ANNOTATIONS", lists]
    words = ["preview", "--cfg", config, *overrides, "--num", 2, "--output", tmp_path / "a.png"]
    assert tool(*words)[0] == 0
    assert [row.detail for row in drawn[0]] == ["cannot be read: empty file"] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num", "0", "--output", "a.png"], "--num must be > 0, got 0"),
        (["--output", "a.jpg"], "--output must end with .png, got a.jpg"),
        (["--dataset", "UFC", "--output", "a.png"], "no dataset 'UFC'; there are UCF"),
    ],
)
def test_what_cannot_be_drawn_is_wrong_input(tool, write_config, words, message):
    code, _, err = tool("preview", "--cfg", write_config(["UCF"]), *words)
    assert code == 2
    assert message in err
