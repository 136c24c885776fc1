"""Nothing outside the root is opened, whatever a list, a folder or an index names.

Two witnesses: an audit hook inside the reading process notes what Python opens; inotify, from
outside of it, what anything opens, decoders included. A socket waits for whoever calls.
"""

import io
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import astuple
from pathlib import Path

import av
import numpy as np
import pytest
from hostile import THINGS, VIDEOS, WORDS, Place, Planted
from watching import Watch

from videokd.data.decode import BACKENDS, open_video
from videokd.data.source import open_video_file
from videokd.utils.errors import InputError, VideoError

READER = Path(__file__).with_name("hostile_reader.py")
# What names a file outside of any root: who does so on the command line wants it read.
OUTSIDE_BY_NAME = {
    *("parent", "parent after a folder", "thousand parents", "absolute", "two slashes"),
    *("prefix of the root's name", "root of the process", "device", "own input", "nothing"),
    *(name for name in THINGS if "link" in name),
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is part of Linux")


def make_video(container, *, level):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(8):
            picture = np.full((48, 64, 3), level, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def own_video():
    return {kind: make_video(kind, level=40) for kind in ("avi", "mp4")}


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture
def outside(tmp_path):
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


def installed_backends():
    backends = []
    for backend in BACKENDS:
        try:
            open_video("missing", backend=backend)
        except VideoError:
            backends.append(backend)
        except InputError:
            continue
    return [backend for backend in backends if backend != "auto"]


def run_reader(tmp_path, way, root, cases):
    job = tmp_path / "job.json"
    backends = installed_backends()
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


@pytest.mark.parametrize("way", ["list", "classes", "record", "named"])
def test_nothing_outside_the_root_is_opened(tmp_path, outside, own_video, listener, way, tell):
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
    results = run_reader(tmp_path, way, root, warm_up + planted)
    opened = [path for watch in watches for path in watch.seen()]
    for watch in watches:
        watch.close()
    tell(describe(way, planted, results, opened))
    assert opened == []
    assert [r for r in results if r["outside"]] == []
    assert count_calls(listener) == 0
    assert all(is_read(r) for r in results if r["name"] == "warm-up")
    assert [r for r in results if r["name"] in THINGS and is_read(r)] == []
    if way in ("record", "named"):  # a list cannot hold some of these names
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


def test_a_file_swapped_for_a_link_while_it_is_read_does_not_lead_out(tmp_path, outside, own_video):
    """The checks and the decoder's opening are apart in time; a thread swaps all the while."""
    root = tmp_path / "root"
    root.mkdir()
    content = own_video["avi"]
    is_done = threading.Event()

    def swap():
        while not is_done.is_set():
            (root / "step").symlink_to(outside / "canary.avi")
            os.replace(root / "step", root / "a.avi")
            (root / "step").write_bytes(content)
            os.replace(root / "step", root / "a.avi")

    (root / "a.avi").write_bytes(content)
    watch, results = Watch(outside), []
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(300):
            backend = installed_backends()[number % 2 - 1]
            try:
                with open_video(open_video_file("a.avi", root=root), backend=backend) as video:
                    results.append(int(video.get_frames([0]).mean()))
            except VideoError as error:
                results.append(error.cause)
    finally:
        is_done.set()
        swapper.join()
    assert watch.seen() == []
    assert len({r for r in results if isinstance(r, int)}) == 1
    assert any(isinstance(r, str) for r in results), "the swapping was never noticed"
    watch.close()
