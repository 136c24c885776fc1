"""What reading costs, in opens and decoded frames; and what a stored number of frames saves."""

import itertools

import av
import numpy as np
import pytest

from videokd.data.decode import open_video, packets
from videokd.utils.errors import VideoError

NO_PYRAMID = {"x264-params": "b-pyramid=none"}
FILES = {
    "plain.avi": {"codec": "mpeg4"},
    "b_frames.avi": {"codec": "mpeg4", "num_b_frames": 2},
    "p_frames.mp4": {"codec": "libx264"},
    "b_frames.mp4": {"codec": "libx264", "num_b_frames": 3, **NO_PYRAMID},
    "one_gop.mkv": {"codec": "libx264", "num_b_frames": 3, "gop": 250, **NO_PYRAMID},
    "vp9.webm": {"codec": "libvpx-vp9"},
}
# Clips at both ends and in the middle, apart and together.
WANTED = [[0], [59], [30], [20, 23, 26, 29], [0, 59], [3, 14, 40, 41, 58], range(60)]


def read_kinds(path):
    """Find the kinds of the frames, in the order of display; "K" where decoding can start."""
    kinds = {1: "I", 2: "P", 3: "B"}
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return ["K" if frame.key_frame else kinds.get(frame.pict_type, "") for frame in frames]


def find_needed(kinds, wanted):
    """List the frames that must be decoded: from a key frame on, B-frames only if wanted."""
    needed = set()
    for index in wanted:
        key = max(n for n, kind in enumerate(kinds) if kind == "K" and n <= index)
        needed |= {n for n in range(key, index + 1) if kinds[n] != "B" or n in wanted}
    return needed


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_one_open_and_no_frame_too_many_is_decoded(make_video, read_numbers, name, wanted):
    path = make_video(name, 60, **FILES[name])
    with open_video(str(path)) as video:
        assert read_numbers(video.get_frames(wanted)) == list(wanted)
        assert video.num_opens == 1
        assert video.num_decoded == len(find_needed(read_kinds(path), wanted))


def test_b_frames_that_others_need_are_decoded(make_video, read_numbers):
    options = {"codec": "libx264", "num_b_frames": 3, "gop": 250}
    path = make_video("a.mp4", 60, **options, **{"x264-params": "scenecut=0:b-adapt=0"})
    with open_video(str(path)) as video:
        # I B b B P b b B P ...: one B-frame of three is for reference.
        disposable = video.file.table.disposable[video.file.table.numbers]
        assert disposable.tolist()[:9] == [False, True, False, True] * 2 + [False]
        assert read_numbers(video.get_frames([41])) == [41]
        assert video.num_decoded == 22


def test_size_rate_and_times_cost_one_frame_before_reading_and_none_after(make_video):
    path = str(make_video("a.mp4", 30, codec="libx264"))
    with open_video(path) as video:
        assert (video.height, video.width, video.fps, len(video.times)) == (48, 64, 25.0, 30)
        assert (video.num_opens, video.num_decoded) == (1, 1)
    with open_video(path) as video:
        video.get_frames([2])
        assert (video.height, video.width) == (48, 64)
        assert video.num_decoded == 3


def test_a_file_too_large_to_hold_is_sought_in(make_video, monkeypatch):
    monkeypatch.setattr(packets, "_MAX_HELD_BYTES", 0)
    path = make_video("a.mp4", 60, codec="libx264", num_b_frames=2, **NO_PYRAMID)
    with open_video(str(path)) as video:
        video.get_frames([50, 52])
        assert video.num_opens == 1
        assert video.num_decoded == len(find_needed(read_kinds(path), [50, 52]))


def test_a_seek_that_lands_elsewhere_costs_another_open(make_video, read_numbers, monkeypatch):
    monkeypatch.setattr(packets, "_MAX_HELD_BYTES", 0)
    path = make_video("a.mp4", 60, codec="libx264", num_b_frames=2)
    with open_video(str(path)) as video:
        marks = video.file._marks
        # As if the seek had ended behind the key frame: no packet from there on is the one.
        monkeypatch.setattr(video.file, "_marks", [(0, 0, 0, 0)] * len(marks))
        assert read_numbers(video.get_frames([50, 3])) == [50, 3]
        assert video.num_opens > 1


@pytest.mark.parametrize("name", ["plain.avi", "b_frames.avi", "b_frames.mp4", "h264.avi"])
def test_a_number_from_an_index_changes_no_frame(make_video, read_numbers, name):
    options = FILES.get(name, {"codec": "libx264", "num_b_frames": 2})
    with open_video(str(make_video(name, 30, **options)), expected_frames=30) as video:
        assert (video.num_frames, video.num_decoded) == (30, 0)
        assert read_numbers(video.get_frames([29, 4])) == [29, 4]


def test_frames_that_must_be_counted_are_counted_once(make_video):
    path = str(make_video("a.avi", 30, codec="libx264", num_b_frames=2))
    with open_video(path) as video:
        assert (video.num_frames, video.num_decoded) == (30, 30)
        video.get_frames([9, 3])
        assert video.num_decoded == 40


@pytest.mark.parametrize("name", ["plain.avi", "b_frames.avi", "b_frames.mp4", "h264.avi"])
def test_fewer_frames_than_the_index_says_are_an_error(make_video, name):
    options = FILES.get(name, {"codec": "libx264", "num_b_frames": 2})
    path = str(make_video(name, 30, **options))
    with pytest.raises(VideoError, match="30 frames decode, the index says 31"):
        open_video(path, expected_frames=31)


def test_fewer_counted_frames_than_packets_are_an_error_when_they_are_missed(
    make_video, monkeypatch
):
    path = str(make_video("a.avi", 30, codec="libx264", num_b_frames=2))
    packets_from = packets.PacketFile.packets_from
    monkeypatch.setattr(
        packets.PacketFile,
        "packets_from",
        lambda file, number: itertools.islice(packets_from(file, number), 20),
    )
    with open_video(path, expected_frames=30) as video:
        assert video.get_frames([10]).shape[0] == 1
        with pytest.raises(VideoError, match="20 frames decode, the index says 30"):
            video.get_frames([25])


def test_reading_twice_gives_the_same(make_video):
    with open_video(str(make_video("a.avi", 40, codec="mpeg4", num_b_frames=2))) as video:
        first = video.get_frames([33, 5])
        video.get_frames([39])
        np.testing.assert_array_equal(video.get_frames([33, 5]), first)
