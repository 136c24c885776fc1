"""Reads that fail: the machine's fault, never a shorter video or a property of the file."""

import errno

import pytest

from videokd.curation.encode_spec import EncodeSpec
from videokd.curation.examine import Decode, VideoReport, probe
from videokd.curation.survey import Survey, add_reports
from videokd.curation.transcode import transcode
from videokd.data.augment import AugmentSpec
from videokd.data.batch import BadVideo, ClipRequest
from videokd.data.clip_spec import ClipSpec
from videokd.data.dataset import ClipDataset
from videokd.data.decode import errors, open_video, packets
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.data.test_views import ViewDataset
from videokd.utils.errors import ReadError

CAUSES = {errno.EIO: "Input/output error", errno.ESTALE: "Stale file handle"}
KINDS = {
    "a.avi": {"num_b_frames": 2},
    "a.mp4": {"codec": "libx264", "num_b_frames": 2},
    "a.mkv": {"codec": "libx264"},
    "a.webm": {"codec": "libvpx-vp9"},
    "a.flv": {"codec": "flv1"},
    "a.ts": {"codec": "libx264"},
}


def scan(root, examine=probe):
    return Survey(root, root / "j.jsonl", examine, method="").run(["a.mp4"])


@pytest.mark.parametrize("code", CAUSES)
@pytest.mark.parametrize("name", KINDS)
def test_a_failed_read_is_not_the_end_of_the_video(make_video, failing_reads, name, code):
    path = make_video(name, 20, **KINDS[name])
    failing_reads(code)
    with pytest.raises(ReadError, match=rf"{name}: {CAUSES[code]}.*not the file"):
        open_video(str(path))


def test_a_lack_of_memory_is_not_the_end_of_the_video(make_video, failing_reads):
    path = make_video("a.mp4", 20, codec="libx264")
    failing_reads(errno.ENOMEM)
    with pytest.raises(MemoryError, match="Cannot allocate memory"):
        open_video(str(path))


def test_a_read_that_fails_after_a_seek_is_no_damage(make_video, failing_reads, monkeypatch):
    monkeypatch.setattr(packets, "_MAX_HELD_BYTES", 0)
    path = make_video("a.mp4", 20, codec="libx264")
    failing_reads(errno.EIO, num_packets=0, num_sound=1)
    with open_video(str(path)) as video:
        video.get_frames([3])
        video.file._open()
        with pytest.raises(ReadError, match="Input/output error"):
            video.get_frames([19])


def test_a_seek_that_fails_reads_from_the_start(make_video, read_numbers, monkeypatch):
    monkeypatch.setattr(packets, "_MAX_HELD_BYTES", 0)

    class NoSeek:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def seek(self, *args, **options):
            packets.av.error.err_check(-errno.EPERM)

    with open_video(str(make_video("a.mp4", 20, codec="libx264"))) as video:
        video.file._container = NoSeek(video.file._container)
        assert read_numbers(video.get_frames([19])) == [19]


def test_a_scan_does_not_keep_what_a_failed_read_found(make_video, failing_reads, monkeypatch):
    root = make_video("a.mp4", 20, codec="libx264").parent
    opened = failing_reads(errno.EIO)
    reports = scan(root)
    assert len(opened) == 2
    monkeypatch.undo()
    assert "Input/output error" in reports["a.mp4"].cause
    record = VideoRecord("a.mp4", 0, "toy", "a")
    index = VideoIndex((record,), ("x",), root, "toy", "train")
    assert add_reports(index, reports).records[0].cause == ""
    report = scan(root)["a.mp4"]
    assert (report.num_frames, report.cause) == (20, "")


@pytest.fixture
def fail_once(monkeypatch):
    """The calls that list packets; the first one fails."""
    calls, demux = [], packets.PacketFile._demux

    def fail(self):
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")
        return demux(self)

    monkeypatch.setattr(packets.PacketFile, "_demux", fail)
    return calls


def test_a_scan_tries_a_failed_read_again(make_video, fail_once):
    root = make_video("a.mp4", 20, codec="libx264").parent
    report = scan(root)["a.mp4"]
    assert (report.num_frames, report.cause) == (20, "")


def test_a_check_does_not_keep_what_a_failed_read_found(make_video, failing_reads):
    root = make_video("a.mp4", 20, codec="libx264").parent
    failing_reads(errno.EIO)
    report = scan(root, Decode())["a.mp4"]
    # Without a size, a report is not written to the journal.
    assert report == VideoReport("missing", report.cause)
    assert "Input/output error" in report.cause


def test_a_check_whose_second_reading_fails_keeps_nothing(make_video, failing_reads):
    root = make_video("a.mp4", 20, codec="libx264").parent
    failing_reads(errno.EIO, num_sound=1)
    report = scan(root, Decode())["a.mp4"]
    assert report == VideoReport("missing", report.cause)


def test_nothing_is_transcoded_from_a_failed_read(make_video, failing_reads, tmp_path):
    path = make_video("a.mp4", 20, codec="libx264")
    failing_reads(errno.EIO)
    with pytest.raises(ReadError, match="Input/output error"):
        transcode(path, tmp_path / "b.mp4", EncodeSpec())
    assert not (tmp_path / "b.mp4").exists()


@pytest.fixture
def index(make_video):
    root = make_video("a.mp4", 20, codec="libx264").parent
    return VideoIndex((VideoRecord("a.mp4", 0, "toy", "a"),), ("x",), root, "toy", "train")


CLIP = ClipSpec(num_frames=4, sampling_rate=3, crop_size=32, short_side=40)


def make_clip(index):
    dataset = ClipDataset([index], clip=CLIP, augment=AugmentSpec(), seed=0)
    return dataset[ClipRequest(0, 0, 0, 0)]


def make_views(index):
    return ViewDataset(index, dataset_id=0, clip=CLIP, num_clips=2)[0]


@pytest.mark.parametrize("make", [make_clip, make_views])
def test_training_and_tests_read_a_file_again_after_a_failed_read(index, fail_once, make):
    assert not isinstance(make(index), BadVideo)
    assert len(fail_once) == 2


@pytest.mark.parametrize("make", [make_clip, make_views])
def test_training_and_tests_report_a_read_that_fails_twice(index, failing_reads, make):
    opened = failing_reads(errno.EIO)
    found = make(index)
    assert len(opened) == 2
    assert isinstance(found, BadVideo)
    assert "Input/output error" in found.cause


@pytest.mark.parametrize("make", [make_clip, make_views])
def test_a_missing_video_is_not_waited_for(index, monkeypatch, make):
    (index.root / "a.mp4").unlink()
    waits = []
    monkeypatch.setattr(errors.time, "sleep", waits.append)
    assert "No such file" in make(index).cause
    assert waits == []
