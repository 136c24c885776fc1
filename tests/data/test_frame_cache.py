import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from multiprocessing import active_children

import numpy as np
import pytest

from videokd.data import frame_cache_writer
from videokd.data.decode import open_video
from videokd.data.frame_cache_writer import write_frame_cache
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.utils.errors import InputError, VideoError


@pytest.fixture
def index(make_video, tmp_path):
    make_video("videos/a.avi", 20, num_b_frames=2)
    make_video("videos/b.mp4", 12, codec="libx264")
    (tmp_path / "videos" / "broken.avi").write_bytes(b"RIFF\0\0\0\0AVI nothing")
    names = ["a.avi", "broken.avi", "b.mp4"]
    records = tuple(VideoRecord(name, 0, "toy", name) for name in names)
    return VideoIndex(records, ("x",), tmp_path / "videos", "toy", "train")


@pytest.fixture
def build(index, tmp_path):
    def build(**changes):
        options = {"directory": tmp_path / "cache", "short_side": 24, "max_gib": 1.0} | changes
        return write_frame_cache(index, **options)

    return build


def test_cached_frames_equal_decoded_ones(build, index):
    cache = build()
    for record in (index.records[0], index.records[2]):
        with (
            open_video(str(index.root / record.path)) as video,
            cache.reader(record) as stored,
        ):
            assert stored.num_frames == video.num_frames
            assert stored.fps == video.fps
            np.testing.assert_array_equal(stored.times, video.times)
            assert (stored.height, stored.width) == (24, 32)
            expected = video.get_frames([7, 3, 3], short_side=24)
            np.testing.assert_array_equal(stored.get_frames([7, 3, 3], short_side=24), expected)


def test_a_bad_video_is_remembered_with_its_cause(build, index):
    cache = build()
    assert list(cache.bad_videos) == ["broken.avi"]
    with pytest.raises(VideoError, match=r"broken\.avi: no video stream"):
        cache.reader(index.records[1])


def test_an_unknown_record_is_a_video_error(build):
    with pytest.raises(VideoError, match="not in the frame cache"):
        build().reader(VideoRecord("new.avi", 0, "toy", "g"))


def test_progress_counts_to_the_end(build):
    seen = []
    build(on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 6) for n in range(1, 7)]


def test_two_processes_write_the_same_as_none(build, tmp_path):
    build()
    build(directory=tmp_path / "other", num_processes=2)
    (one,) = (tmp_path / "cache").glob("*/frames.bin")
    (two,) = (tmp_path / "other").glob("*/frames.bin")
    assert one.read_bytes() == two.read_bytes()


def test_a_fitting_cache_is_used_again(build, monkeypatch):
    build()
    filled = []
    monkeypatch.setattr(frame_cache_writer, "_fill", lambda *arguments: filled.append(arguments))
    build()
    assert not filled


@pytest.mark.parametrize("change", ["file", "short_side"])
def test_a_cache_that_does_not_fit_is_not_used(build, index, tmp_path, change):
    build()
    if change == "file":
        os.utime(index.root / "a.avi", (1, 1))
    build(short_side=48 if change == "short_side" else 24)
    assert len(list((tmp_path / "cache").glob("*/manifest.json"))) == 2


def test_a_cache_cut_off_before_its_manifest_is_built_again(build, tmp_path):
    build()
    (manifest,) = (tmp_path / "cache").glob("*/manifest.json")
    manifest.unlink()
    (manifest.parent / "frames.bin").write_bytes(b"half")
    assert len(build().bad_videos) == 1
    names = ["frames.bin", "manifest.json", "times.bin"]
    assert sorted(p.name for p in manifest.parent.iterdir()) == names


def test_what_a_kill_while_frames_are_decoded_left_is_removed(build, index, tmp_path):
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from videokd.data import frame_cache_writer\n"
        "from videokd.data.lists.index import VideoIndex, VideoRecord\n"
        "root = Path(sys.argv[1])\n"
        "records = tuple(VideoRecord(n, 0, 'toy', n) for n in sys.argv[3:])\n"
        "index = VideoIndex(records, ('x',), root, 'toy', 'train')\n"
        "store = frame_cache_writer._Work.store\n"
        "def die(self, *args):\n"
        "    store(self, *args)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "frame_cache_writer._Work.store = die\n"
        "options = {'directory': Path(sys.argv[2]), 'max_gib': 1.0}\n"
        "frame_cache_writer.write_frame_cache(index, short_side=24, **options)\n"
    )
    cache, left = tmp_path / "cache", []
    # The first is a cache that nobody asks for again.
    for names in (["b.mp4"], ["a.avi", "broken.avi", "b.mp4"]):
        command = [sys.executable, "-c", script, index.root, cache, *names]
        assert subprocess.run(command, timeout=100).returncode == -signal.SIGKILL
        left += cache.glob("*/.frames.bin.*")
    assert len(set(left)) == 2
    assert [path.exists() for path in left] == [False, True]
    build()
    assert list(cache.rglob(".*")) == []
    assert len(list(cache.rglob("frames.bin"))) == 1


def test_a_damaged_cache_says_what_to_do(build, tmp_path):
    build()
    (frames,) = (tmp_path / "cache").glob("*/frames.bin")
    os.truncate(frames, 100)
    # 32 frames of 24 x 32 pixels.
    with pytest.raises(InputError, match=r"damaged \(100 bytes instead of 73728\); delete it"):
        build()
    os.truncate(frames, 73728)
    os.truncate(frames.with_name("times.bin"), 16)
    with pytest.raises(InputError, match=r"damaged \(16 bytes instead of 256\); delete it"):
        build()


def test_the_size_limit_is_checked_before_anything_is_written(build, tmp_path):
    message = "needs 0.00 GiB, allowed are 1e-05; .* switch the frame cache off"
    with pytest.raises(InputError, match=message):
        build(max_gib=1e-5)
    assert not (tmp_path / "cache").exists()


def test_a_dataset_without_a_readable_video_is_an_error(index, build):
    for name in ("a.avi", "b.mp4"):
        (index.root / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"none of 3 videos can be read, e.g. a.avi: empty file"):
        build()


def test_a_cache_travels_to_workers_as_a_path(build, index):
    cache = build()
    data = pickle.dumps(cache)
    assert len(data) < 500
    frames = pickle.loads(data).reader(index.records[0]).get_frames([5])
    np.testing.assert_array_equal(frames, cache.reader(index.records[0]).get_frames([5]))


def test_wrong_requests_to_a_stored_video_are_errors(build, index):
    stored = build().reader(index.records[0])
    with pytest.raises(IndexError, match="of 20 do not all exist"):
        stored.get_frames([0, 20])
    with pytest.raises(InputError, match="cached with short side 24, got 32"):
        stored.get_frames([0], short_side=32)


HANG = "__import__('time').sleep(1000)"
ABORT = "__import__('os').abort()"
SEGFAULT = "__import__('ctypes').string_at(0)"
NO_MEMORY = "(_ for _ in ()).throw(MemoryError)"
KILL = "__import__('os').kill(__import__('os').getpid(), 9)"


@pytest.fixture
def build_deadly(build, index, misbehaving, monkeypatch):
    """build_deadly({path: [expression, expression]}) with one worker and 2 s for each video."""
    monkeypatch.setattr(frame_cache_writer, "_Work", misbehaving.DeadlyWork)

    def build_deadly(deaths, **options):
        (index.root / "deaths.json").write_text(json.dumps(deaths))
        return build(num_processes=1, deadline_sec=2.0, **options)

    yield build_deadly
    assert active_children() == []


def once(tmp_path, death):
    """Return an expression that dies at its first evaluation only."""
    note = f"__import__('pathlib').Path({str(tmp_path / 'note')!r})"
    return f"{note}.exists() or ({note}.touch(), {death})"


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize(
    ("death", "cause"),
    [
        (HANG, "hung for more than 2 s"),
        (ABORT, "its process died of SIGABRT"),
        (SEGFAULT, "its process died of SIGSEGV"),
    ],
)
def test_a_decoder_that_hangs_or_dies_costs_its_video_only(
    build_deadly, build, index, phase, death, cause
):
    deaths = ["None", "None"]
    deaths[phase] = death
    cache = build_deadly({"a.avi": deaths})
    assert cache.bad_videos == {"a.avi": cause, "broken.avi": "no video stream"}
    stored = cache.reader(index.records[2]).get_frames(range(12))
    with open_video(str(index.root / "b.mp4")) as video:
        np.testing.assert_array_equal(stored, video.get_frames(range(12), short_side=24))
    # It is the file's own cause from now on.
    assert build().bad_videos == cache.bad_videos


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("death", [ABORT, NO_MEMORY])
def test_a_video_that_a_worker_is_lost_on_once_is_tried_again(build_deadly, tmp_path, phase, death):
    deaths = ["None", "None"]
    deaths[phase] = once(tmp_path, death)
    assert list(build_deadly({"a.avi": deaths}).bad_videos) == ["broken.avi"]


@pytest.mark.parametrize("death", [NO_MEMORY, KILL])
def test_a_lack_of_memory_is_no_property_of_a_video(build_deadly, death):
    assert "memory" in build_deadly({"a.avi": [death, "None"]}).bad_videos["a.avi"]
    assert list(build_deadly({}).bad_videos) == ["broken.avi"]


def test_a_video_with_a_known_cause_is_not_opened(build_deadly, index, tmp_path):
    tried = tmp_path / "tried"
    deadly = f"open({str(tried)!r}, 'a').write('x') and {ABORT}"
    records = list(index.records)
    records[0] = replace(records[0], cause="its process died of SIGSEGV")
    index = replace(index, records=tuple(records))
    (index.root / "deaths.json").write_text(json.dumps({"a.avi": [deadly, deadly]}))
    options = {"directory": tmp_path / "cache", "short_side": 24, "max_gib": 1.0}
    cache = write_frame_cache(index, num_processes=1, deadline_sec=2.0, **options)
    assert cache.bad_videos["a.avi"] == "its process died of SIGSEGV"
    assert not tried.exists()


def test_a_video_with_fewer_frames_than_the_index_says_is_bad(build, index, tmp_path):
    records = [replace(r, num_frames=n) for r, n in zip(index.records, (21, 0, 12), strict=True)]
    index = replace(index, records=tuple(records))
    options = {"directory": tmp_path / "cache", "short_side": 24, "max_gib": 1.0}
    cache = write_frame_cache(index, **options)
    assert cache.bad_videos["a.avi"] == "20 frames decode, the index says 21"


def test_a_read_that_fails_is_no_property_of_a_video(build, failing_reads, monkeypatch, caplog):
    failing_reads(errno.EIO, name="b.mp4")
    cache = build()
    assert "Input/output error" in cache.bad_videos["b.mp4"]
    assert "2 of 3 videos cannot be read" in caplog.text
    monkeypatch.undo()
    assert list(build().bad_videos) == ["broken.avi"]


def test_a_long_video_is_decoded_in_parts(build, index, monkeypatch, tmp_path):
    whole = build()
    monkeypatch.setattr(frame_cache_writer, "_NUM_FRAMES_PER_READ", 7)
    parts = build(directory=tmp_path / "other")
    for record in (index.records[0], index.records[2]):
        frames = [cache.reader(record) for cache in (whole, parts)]
        numbers = range(frames[0].num_frames)
        np.testing.assert_array_equal(*(reader.get_frames(numbers) for reader in frames))
