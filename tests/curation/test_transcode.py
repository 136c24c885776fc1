import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_fixtures import ASSET_NAMES, ASSETS

from videokd.curation.encode_spec import EncodeSpec
from videokd.curation.transcode import transcode
from videokd.data.decode import open_video
from videokd.utils.errors import VideoError

CLIPS = Path(__file__).parents[2].parent / "shared" / "clips"


def read_times(path):
    """Return the times of a video's frames from its first one, seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = sorted(p.pts * stream.time_base for p in container.demux(stream) if p.size)
    return [time - times[0] for time in times]


def read_all(path):
    with open_video(str(path)) as reader:
        return reader.get_frames(range(reader.num_frames))


@pytest.fixture
def vary_times(tmp_path, make_video):
    """vary_times(ticks): a Matroska file whose n-th frame is shown at ticks[n] milliseconds."""

    def make(ticks):
        path = tmp_path / "vary.mkv"
        even = make_video("even.mkv", len(ticks), codec="libx264")
        with av.open(str(even)) as source, av.open(str(path), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            packets = [p for p in source.demux(video=0) if p.size]
            for packet, time in zip(packets, ticks, strict=True):
                packet.pts = packet.dts = time
                packet.stream = stream
                target.mux(packet)
        return path

    return make


@pytest.mark.parametrize("source", ["mpeg4", "libx264"])
@pytest.mark.parametrize("extension", [".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm"])
def test_frames_and_times_stay_in_every_container(
    make_video, read_numbers, tmp_path, source, extension
):
    name = "a.avi" if source == "mpeg4" else "a.mp4"
    path = make_video(name, 40, codec=source, num_b_frames=2)
    codec = "vp9" if extension == ".webm" else "h264"
    target = tmp_path / f"new{extension}"
    assert transcode(path, target, EncodeSpec(codec=codec, extension=extension)) == 40
    assert read_numbers(read_all(target)) == list(range(40))
    for n, time in enumerate(read_times(target)):
        assert abs(time - Fraction(n, 25)) <= Fraction(1, 1000)
    with open_video(str(target)) as reader:
        assert reader.fps == 25.0


def test_key_frames_are_as_close_as_asked_for(make_video, tmp_path):
    target = tmp_path / "new.mp4"
    transcode(make_video("a.mp4", 30, codec="libx264", gop=30), target, EncodeSpec(gop_frames=7))
    with av.open(str(target)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    keys = [round(p.pts * p.time_base * 25) for p in packets if p.is_keyframe]
    assert max(np.diff([*keys, 30])) <= 7


@pytest.mark.parametrize(
    ("short_side", "size"), [(24, (24, 32)), (30, (30, 40)), (48, (48, 64)), (96, (48, 64))]
)
def test_frames_are_made_smaller_and_never_larger(
    make_video, read_numbers, tmp_path, short_side, size
):
    target = tmp_path / "new.avi"
    transcode(make_video("a.avi", 20), target, EncodeSpec(short_side=short_side))
    frames = read_all(target)
    assert frames.shape[1:3] == size
    assert read_numbers(frames) == list(range(20))


def test_times_that_vary_stay(vary_times, read_numbers, tmp_path):
    ticks = [0, 40, 80, 300, 310, 320, 1000, 1040, 2000, 2500]
    transcode(vary_times(ticks), tmp_path / "new.mp4", EncodeSpec(extension=".mp4"))
    assert read_times(tmp_path / "new.mp4") == [Fraction(tick, 1000) for tick in ticks]
    assert read_numbers(read_all(tmp_path / "new.mp4")) == list(range(10))


def test_avi_cannot_hold_times_that_vary(vary_times, tmp_path):
    path = vary_times([0, 40, 80, 300, 310, 320])
    with pytest.raises(VideoError, match="its frame rate varies, which AVI cannot hold"):
        transcode(path, tmp_path / "new.avi", EncodeSpec())
    assert not list(tmp_path.glob("new*"))


@pytest.mark.parametrize(
    ("fps", "numbers"),
    [
        (12.5, [0, 2, 4, 6, 8]),
        (50.0, [n for n in range(10) for _ in range(2)]),
        # At 0, 1/30, 2/30, ... s a player shows frames 0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9.
        (30.0, [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]),
    ],
)
def test_another_rate_shows_what_a_player_shows(make_video, read_numbers, tmp_path, fps, numbers):
    for name in ("new.mp4", "new.avi"):
        transcode(make_video("a.avi", 10), tmp_path / name, EncodeSpec(fps=fps))
        assert read_numbers(read_all(tmp_path / name)) == numbers
        step_sec = 1 / Fraction(fps)
        for n, time in enumerate(read_times(tmp_path / name)):
            assert abs(time - n * step_sec) <= Fraction(1, 1000)


def test_another_rate_of_times_that_vary(vary_times, read_numbers, tmp_path):
    path = vary_times([0, 90, 100, 460, 470])
    transcode(path, tmp_path / "new.mp4", EncodeSpec(fps=10.0))
    # 0, 100, 200, 300, 400 ms
    assert read_numbers(read_all(tmp_path / "new.mp4"))[:5] == [0, 2, 2, 2, 2]


def test_a_damaged_video_is_not_written(make_video, tmp_path):
    path = make_video("a.mp4", 30, codec="libx264")
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][17]
    data = bytearray(path.read_bytes())
    data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"frame 1\d (is damaged|cannot be decoded)"):
        transcode(path, tmp_path / "new.mp4", EncodeSpec())
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_colours_of_the_full_range_stay(tmp_path):
    path = tmp_path / "a.avi"
    levels = (0, 60, 128, 200, 255)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for level in levels:
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), level, np.uint8), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    transcode(path, tmp_path / "new.mp4", EncodeSpec(extension=".mp4"))
    means = read_all(tmp_path / "new.mp4").mean(axis=(1, 2, 3))
    # Taken for the limited range, 60 would become 51 and 200 become 214.
    assert np.abs(means - levels).max() < 4


def test_what_reads_back_otherwise_is_not_kept(make_video, tmp_path, monkeypatch):
    path = make_video("a.avi", 10)
    (tmp_path / "new.avi").write_bytes(b"the old file")
    monkeypatch.setattr("videokd.curation.transcode._are_close", lambda times_sec, others: False)
    spec = EncodeSpec(extension=".mp4")
    with pytest.raises(VideoError, match="frames read back at other times"):
        transcode(path, tmp_path / "new.mp4", spec)
    assert sorted(os.listdir(tmp_path)) == ["a.avi", "new.avi"]


REAL_NAMES = [
    "decord_video_90.mov",
    "decord_video_180.mov",
    "torchcodec_nasa_13013_rotated.mp4",
    "torchcodec_h264_10bits.mp4",
    "torchcodec_discard_first_keyframe.mp4",
    "torchcodec_test_non_zero_start.mp4",
]
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="../shared/clips is not here")


@pytest.mark.parametrize(
    "path",
    [
        *(pytest.param(ASSETS / name, id=name) for name in ASSET_NAMES),
        *(pytest.param(CLIPS / name, id=name, marks=needs_clips) for name in REAL_NAMES),
    ],
)
def test_real_files_look_the_same_afterwards(path, tmp_path):
    target = tmp_path / "new.mp4"
    transcode(path, target, EncodeSpec(extension=".mp4", crf=10))
    old, new = read_all(path), read_all(target)
    assert old.shape == new.shape
    # A picture on its side, another frame, or other colours differ by tens.
    assert np.abs(old.astype(float) - new).mean() < 6
    with open_video(str(target)) as reader:
        assert reader.num_frames == len(old)
