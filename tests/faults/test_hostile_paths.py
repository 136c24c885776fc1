"""Nothing outside the root is opened, whatever a list, a folder or an index names.

Two witnesses: an audit hook inside the reading process notes what Python opens; inotify, from
outside of it, what anything opens, decoders included. A socket waits for whoever calls.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import av
import pytest
from hostile import THINGS, VIDEOS, WORDS, Place, Planted
from watching import Watch

from videokd.data.decode import open_video
from videokd.data.decode.source import open_video_file
from videokd.utils.errors import VideoError

READER = Path(__file__).with_name("hostile_reader.py")
# What names a file outside of any root: who does so on the command line wants it read.
OUTSIDE_BY_NAME = {
    *("parent", "parent after a folder", "thousand parents", "absolute", "two slashes"),
    *("prefix of the root's name", "root of the process", "device", "own input", "nothing"),
    *(name for name in THINGS if "link" in name),
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is part of Linux")


@pytest.fixture(scope="module")
def own_video(make_video):
    # Files are known by their content. No library but PyAV reads AVI.
    return {"avi": make_video("matroska", level=40), "mp4": make_video("mp4", level=40)}


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture
def outside(tmp_path, make_video):
    folder = tmp_path / "outside"
    for name in (folder, tmp_path / "root-b"):
        name.mkdir()
        (name / "canary.avi").write_bytes(make_video("avi", level=220))
    (folder / "canary.ts").write_bytes(make_video("mpegts", level=220))
    return folder


def plant(tmp_path, outside, own_video, port):
    """Make every case below root, each in a dataset of its own."""
    root = tmp_path / "root"
    planted = []
    for number, (name, make) in enumerate({**WORDS, **THINGS, **VIDEOS}.items()):
        folder = root / f"case{number}" / "train" / "class"
        folder.mkdir(parents=True)
        path = make(Place(folder, outside, own_video["avi"], own_video["mp4"], port))
        if name in WORDS:
            plant_word(folder, path, own_video["avi"])
        else:
            path = os.path.normpath(f"case{number}/train/class/{path}")
        planted.append(Planted(name, path, f"case{number}"))
    return root, planted


def plant_word(folder, word, video):
    """Where the disk takes it for a name, make a file of that name."""
    if word.startswith("/") or ".." in word.split("/") or not word:
        return
    try:
        (folder / word).parent.mkdir(parents=True, exist_ok=True)
        (folder / word).write_bytes(video)
    except (OSError, ValueError):
        return


def run_reader(tmp_path, way, root, cases, backends):
    job = tmp_path / "job.json"
    rows = [astuple(case) for case in cases]
    job.write_text(json.dumps({"root": str(root), "way": way, "backends": backends, "cases": rows}))
    done = subprocess.run(
        [sys.executable, str(READER), str(job)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "HOME": str(tmp_path / "outside")},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(cases) * len(backends)
    return results


def count_calls(listener):
    num_calls = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return num_calls
        num_calls += 1


@pytest.mark.parametrize("way", ["list", "classes", "record", "check", "named"])
def test_nothing_outside_the_root_is_opened(
    tmp_path, outside, own_video, listener, way, backends, tell
):
    root, planted = plant(tmp_path, outside, own_video, listener.getsockname()[1])
    (tmp_path / "lists").mkdir()
    good = root / "good" / "train" / "class"
    good.mkdir(parents=True)
    for kind, content in own_video.items():
        (good / f"good.{kind}").write_bytes(content)
    warm_up = [Planted("warm-up", f"good/train/class/good.{kind}", "good") for kind in own_video]
    if way == "named":
        planted = [case for case in planted if case.name not in OUTSIDE_BY_NAME]
    watches = [Watch(outside), Watch(tmp_path / "root-b")]
    results = run_reader(tmp_path, way, root, warm_up + planted, backends)
    opened = [path for watch in watches for path in watch.seen()]
    for watch in watches:
        watch.close()
    tell(describe(way, planted, results, opened))
    assert opened == []
    assert [r for r in results if r["outside"]] == []
    assert count_calls(listener) == 0
    assert all(is_read(r) for r in results if r["name"] == "warm-up")
    assert [r for r in results if r["name"] in THINGS and is_read(r)] == []
    if way in ("record", "check", "named"):  # a list cannot hold some of these names
        assert [r for r in results if r["name"] in VIDEOS and not is_read(r)] == []


def is_read(result):
    return not any(result["causes"])


def describe(way, planted, results, opened):
    names = {case.name for case in planted}
    tested = [r for r in results if r["name"] in names]
    num_read = sum(map(is_read, tested))
    return (
        f"hostile paths, {way}: {len(planted)} paths, {len(tested)} reads, "
        f"{len(tested) - num_read} refused, {num_read} were videos of the root, "
        f"{len(opened)} files or folders outside opened"
    )


def test_the_witnesses_see_what_is_opened(tmp_path, outside, own_video, listener):
    watch = Watch(outside)
    with av.open(str(outside / "canary.avi")):
        assert watch.seen() == [str(outside / "canary.avi")]
    assert watch.seen() == []
    os.listdir(outside)
    assert watch.seen() == [f"{outside}/"]
    # What FFmpeg does with such a file once it is allowed to.
    root, planted = plant(tmp_path, outside, own_video, listener.getsockname()[1])
    paths = {case.name: str(root / case.path) for case in planted}
    options = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(paths["samples in another file"], container_options=options):
        assert watch.seen() == [str(outside / "canary.avi")]
    with pytest.raises(av.FFmpegError, match="exit|Input/output|timed out"):
        av.open(f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp4", timeout=0.2)
    assert count_calls(listener) == 1
    watch.close()


def test_a_file_swapped_for_a_link_after_the_checks_is_read_as_it_was(
    tmp_path, outside, own_video, backends
):
    root = tmp_path / "root"
    root.mkdir()
    watch = Watch(outside)
    for backend in backends:
        (root / "a.avi").unlink(missing_ok=True)
        (root / "a.avi").write_bytes(own_video["avi"])
        file = open_video_file("a.avi", root=root)
        (root / "a.avi").unlink()
        (root / "a.avi").symlink_to(outside / "canary.avi")
        with open_video(file, backend=backend) as video:
            assert video.get_frames([0, 7]).mean() < 60  # the canary has 220
        with pytest.raises(VideoError, match="leaves the folder"):
            open_video_file("a.avi", root=root)
    assert watch.seen() == []
    watch.close()
