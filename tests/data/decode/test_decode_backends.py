"""The libraries behind one reader: the same frames, or none."""

import importlib.util
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from videokd.data.decode import choice, open_video, packets, torchcodec_frames
from videokd.data.decode.torchcodec_frames import torchcodec_problem
from videokd.utils.errors import InputError, VideoError

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "clips"
NAMES = sorted(path.name for path in CLIPS.glob("*.*") if path.suffix != ".md")
# Pictures of sharp colours: scaling before or after the conversion of colours shows.
TEST_PATTERNS = ("testsrc2", "discard", "10bits", "unordered")
# Why a library is not used for a clip; all others it must read.
REFUSALS = {
    "decord": {
        "decord_corrupted.mp4": "cannot be decoded",
        "torchcodec_av1_video.mkv": "cannot find video stream",
        "torchcodec_discard_first_keyframe.mp4": "sees 30 frames, 25 are shown",
        "torchcodec_h264_10bits.mp4": "8-bit 4:2:0 video of even size only",
        "torchcodec_testsrc2_odd_height_and_width_mpeg2.mp4": "of even size only",
    },
    "torchcodec": {
        "decord_corrupted.mp4": "cannot be decoded",
        "mmaction2_test.avi": "needs times",
    },
}
FILES = {
    "plain.avi": {"codec": "mpeg4"},
    "b_frames.avi": {"codec": "mpeg4", "num_b_frames": 2},
    "b_frames.mp4": {"codec": "mpeg4", "num_b_frames": 2},
    "h264.mp4": {"codec": "libx264", "num_b_frames": 3},
    "one_gop.mkv": {"codec": "libx264", "num_b_frames": 3, "gop": 250},
    "h264.ts": {"codec": "libx264", "num_b_frames": 2},
    "h264.avi": {"codec": "libx264", "num_b_frames": 2},
    "open_gop.mkv": {"codec": "libx264", "x264-params": "open-gop=1:scenecut=0:b-adapt=0"},
    "hevc.mp4": {"codec": "libx265", "x265-params": "open-gop=1:scenecut=0:log-level=none"},
    "variable_rate.mp4": {"codec": "libx264", "times_ms": [40 * n + n % 3 * 11 for n in range(40)]},
    "late_start.mp4": {"codec": "libx264", "times_ms": [8333 + 40 * n for n in range(40)]},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg2.mpg": {"codec": "mpeg2video", "num_b_frames": 2},
    "odd.mp4": {"codec": "mpeg2video", "size": (49, 63)},
    "444.mp4": {"codec": "libx264", "pix_fmt": "yuv444p"},
}
REFUSED_FILES = {
    "decord": {"h264.ts", "odd.mp4", "444.mp4"},
    "torchcodec": {"b_frames.avi", "h264.avi", "h264.ts", "mpeg2.mpg"},
}
needs_clips = pytest.mark.skipif(not NAMES, reason="../shared/clips is not here")
needs_decord = pytest.mark.skipif(
    importlib.util.find_spec("decord") is None, reason="decord is not installed"
)
needs_torchcodec = pytest.mark.skipif(
    torchcodec_problem() != "", reason=f"torchcodec cannot be used: {torchcodec_problem()}"
)
LIBRARIES = [
    pytest.param("decord", marks=needs_decord),
    pytest.param("torchcodec", marks=needs_torchcodec),
]


@needs_clips
@pytest.mark.parametrize("backend", LIBRARIES)
@pytest.mark.parametrize("name", NAMES)
def test_real_files_give_pyavs_frames_bit_by_bit_or_are_refused(name, backend):
    path = str(CLIPS / name)
    reason = REFUSALS[backend].get(name)
    if reason:
        with pytest.raises(VideoError, match=reason), open_video(path, backend=backend) as theirs:
            theirs.get_frames([theirs.num_frames - 1])
        return
    with open_video(path) as ours, open_video(path, backend=backend) as theirs:
        assert (theirs.num_frames, theirs.backend) == (ours.num_frames, backend)
        num_frames = ours.num_frames
        wanted = [num_frames - 1, 0, num_frames // 2, 1, num_frames // 3]
        np.testing.assert_array_equal(theirs.get_frames(wanted), ours.get_frames(wanted))
        np.testing.assert_array_equal(theirs.times, ours.times)
        assert (theirs.height, theirs.width) == (ours.height, ours.width)
        # What the two ways of scaling may differ by, in levels of 255, on average.
        allowed = 9.0 if any(word in name for word in TEST_PATTERNS) else 3.0
        difference = theirs.get_frames(wanted, short_side=48) - ours.get_frames(
            wanted, short_side=48
        ).astype(int)
        assert np.abs(difference).mean() < allowed


@pytest.mark.parametrize("backend", LIBRARIES)
@pytest.mark.parametrize("name", FILES)
def test_every_frame_is_the_right_one_or_refused(make_video, read_numbers, name, backend):
    path = str(make_video(name, 40, **FILES[name]))
    try:
        with open_video(path, backend=backend) as theirs, open_video(path) as ours:
            found = np.concatenate([theirs.get_frames([n]) for n in range(40)])
            np.testing.assert_array_equal(found, ours.get_frames(range(40)))
    except VideoError:
        assert name in REFUSED_FILES[backend]
        return
    assert name not in REFUSED_FILES[backend]
    assert read_numbers(found) == list(range(40))


@pytest.mark.parametrize("backend", LIBRARIES)
def test_a_library_costs_one_open_more(make_video, backend):
    with open_video(str(make_video("a.mp4", 30, codec="libx264")), backend=backend) as video:
        video.get_frames([4, 5])
        assert (video.num_opens, video.num_decoded) == (2, 6)


@needs_clips
@needs_decord
def test_packed_b_frames_come_in_the_order_of_display():
    # The times in this file swap the third and the fourth frame, and so on; decord, reading one
    # by one, does not look at times.
    path = str(CLIPS / "mmaction2_test.avi")
    with open_video(path) as ours, open_video(path, backend="decord") as theirs:
        np.testing.assert_array_equal(ours.get_frames(range(40)), theirs.get_frames(range(40)))


@needs_decord
def test_decord_works_while_its_bridge_is_set_to_torch(make_video, read_numbers):
    import decord

    path = make_video("a.mp4", 20, codec="libx264")
    decord.bridge.set_bridge("torch")
    try:
        with open_video(str(path), backend="decord") as video:
            assert read_numbers(video.get_frames([11, 4])) == [11, 4]
    finally:
        decord.bridge.reset_bridge()


@pytest.mark.parametrize("backend", LIBRARIES)
def test_no_indices_give_no_frames(make_video, backend):
    with open_video(str(make_video("a.mp4", 3, codec="libx264")), backend=backend) as video:
        assert video.get_frames([]).shape[0] == 0


def test_auto_is_pyav_and_says_so_once_for_each_kind_of_file(make_video, caplog):
    choice._say.cache_clear()
    paths = [make_video(name, 3) for name in ("a.avi", "b.avi", "c.mp4")]
    with caplog.at_level(logging.INFO, logger="videokd"):
        for path in paths:
            with open_video(str(path)) as video:
                assert video.backend == "pyav"
    assert [record.message for record in caplog.records] == [
        "avi/mpeg4 is read with pyav",
        "mov/mpeg4 is read with pyav",
    ]


@needs_torchcodec
def test_auto_is_torchcodec_where_pyav_has_no_decoder(make_video, read_numbers, monkeypatch):
    path = str(make_video("a.mp4", 20, codec="libx264"))
    monkeypatch.setattr(packets.PacketFile, "can_decode", False)
    with open_video(path) as video:
        assert video.backend == "torchcodec"
        assert read_numbers(video.get_frames([11, 4])) == [11, 4]


def test_a_codec_that_nothing_decodes_here_is_a_video_error(make_video, monkeypatch):
    path = str(make_video("a.mp4", 3, codec="libx264"))
    monkeypatch.setattr(packets.PacketFile, "can_decode", False)
    monkeypatch.setattr(choice, "torchcodec_problem", lambda: "no FFmpeg")
    with pytest.raises(VideoError, match=r"PyAV has no decoder .* cannot be used here \(no FFmpeg"):
        open_video(path)


def test_torchcodec_without_ffmpeg_is_an_input_error_that_says_so(make_video, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("Could not load libtorchcodec. Likely causes:\n1. FFmpeg is missing")

    monkeypatch.setattr(torchcodec_frames, "_make_decoder", fail)
    torchcodec_problem.cache_clear()
    try:
        assert torchcodec_problem() == "Could not load libtorchcodec. Likely causes:"
        with pytest.raises(InputError, match="torchcodec cannot be used here .Could not load"):
            open_video(str(make_video("a.mp4", 3)), backend="torchcodec")
    finally:
        torchcodec_problem.cache_clear()


def test_a_missing_decord_is_an_input_error(make_video, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(InputError, match="decord is not installed .*; use backend pyav"):
        open_video(str(make_video("a.mp4", 3)), backend="decord")


def test_a_frame_of_another_time_is_not_taken(make_video, monkeypatch):
    class OneLate:
        def __len__(self):
            return 10

        def get_frames_at(self, indices):
            self.data = torch.zeros(len(indices), 48, 64, 3, dtype=torch.uint8)
            self.pts_seconds = torch.tensor([(index + 1) / 25 for index in indices])
            return self

    monkeypatch.setattr(torchcodec_frames, "torchcodec_problem", lambda: "")
    monkeypatch.setattr(torchcodec_frames, "_make_decoder", lambda *args, **options: OneLate())
    path = str(make_video("a.mp4", 10, codec="libx264"))
    with (
        open_video(path, backend="torchcodec") as video,
        pytest.raises(VideoError, match="torchcodec gives frame 4 for 3"),
    ):
        video.get_frames([3])


def test_a_library_that_gives_another_frame_is_not_believed(make_video, monkeypatch):
    # As decord, which leaves some damaged frames of HEVC out.
    path = str(make_video("a.mp4", 6))

    class OneLate:
        name = "decord"

        def __init__(self, checker):
            with open_video(path) as video:
                self.frames = video.get_frames(range(6))

        def read(self, wanted):
            return ((index, self.frames[min(index + (index > 3), 5)]) for index in wanted)

        def close(self):
            pass

    monkeypatch.setitem(choice._LIBRARIES, "decord", OneLate)
    with open_video(path, backend="decord") as video:
        assert video.get_frames([0, 3]).shape[0] == 2
        with pytest.raises(VideoError, match="decord and PyAV decode frame 4 differently"):
            video.get_frames([2, 4])
