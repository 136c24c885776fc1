"""Random reads of many encodings: every read equals the same frames of the whole read.

`make test-exact` runs it and prints how many encodings and reads there were.
"""

import random

import av
import numpy as np
import pytest
from video_fixtures import ASSET_NAMES, ASSETS, NUM_ASSET_FRAMES

from videokd.data.decode import open_video, packets

pytestmark = pytest.mark.exact

NUM_FRAMES = 60
NUM_READS = 200
# Encoder, its options, B-frames between two anchors, and containers.
H264 = {"codec": "libx264", "gop": 20}
PYRAMID = {**H264, "num_b_frames": 4, "x264-params": "scenecut=0:b-adapt=0:b-pyramid=normal"}
OPEN_GOP = {**H264, "num_b_frames": 3, "x264-params": "open-gop=1:scenecut=0:b-adapt=0"}
DEEP = {**H264, "gop": 40, "num_b_frames": 16, "x264-params": "scenecut=0:b-adapt=0"}
HEVC = {"codec": "libx265", "gop": 20}
HEVC_PYRAMID = {**HEVC, "num_b_frames": 4, "x265-params": "b-adapt=0:scenecut=0:log-level=none"}
HEVC_CLOSED = {**HEVC, "num_b_frames": 8, "x265-params": "open-gop=0:b-adapt=0:log-level=none"}
MPEG4 = {"codec": "mpeg4", "num_b_frames": 2}
MPEG2 = {"codec": "mpeg2video", "num_b_frames": 2}
ENCODINGS = {
    "h264-0.mp4": H264,
    "h264-1.mp4": {**H264, "num_b_frames": 1},
    "h264-pyramid.mp4": PYRAMID,
    "h264-pyramid.mov": PYRAMID,
    "h264-pyramid.mkv": PYRAMID,
    "h264-pyramid.flv": PYRAMID,
    "h264-pyramid.ts": PYRAMID,
    "h264-pyramid.avi": PYRAMID,
    "h264-open-gop.mp4": OPEN_GOP,
    "h264-open-gop.mkv": OPEN_GOP,
    "h264-open-gop.ts": OPEN_GOP,
    "h264-16.mp4": DEEP,
    "h264-16.mkv": DEEP,
    "h264-intra-refresh.mp4": {**H264, "x264-params": "intra-refresh=1"},
    "h264-10-bit.mp4": {**PYRAMID, "pix_fmt": "yuv420p10le"},
    "hevc-0.mp4": {**HEVC, "x265-params": "log-level=none"},
    "hevc-pyramid.mp4": HEVC_PYRAMID,
    "hevc-pyramid.mkv": HEVC_PYRAMID,
    "hevc-pyramid.ts": HEVC_PYRAMID,
    "hevc-closed-8.mov": HEVC_CLOSED,
    "mpeg4-0.avi": {"codec": "mpeg4"},
    "mpeg4-1.avi": {"codec": "mpeg4", "num_b_frames": 1},
    "mpeg4-2.avi": MPEG4,
    "mpeg4-2.mp4": MPEG4,
    "mpeg4-2.mkv": MPEG4,
    "mpeg4-6.mov": {"codec": "mpeg4", "num_b_frames": 6},
    "mpeg2-0.mp4": {"codec": "mpeg2video"},
    "mpeg2-2.mpg": MPEG2,
    "mpeg2-2.mkv": MPEG2,
    "mpeg2-2.ts": MPEG2,
    "mpeg1-2.mpg": {"codec": "mpeg1video", "num_b_frames": 2},
    "vp8.webm": {"codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "10"},
    "vp9.webm": {"codec": "libvpx-vp9", "auto-alt-ref": "1", "lag-in-frames": "20"},
    "av1.mkv": {"codec": "libsvtav1", "size": (64, 64), "svtav1-params": "keyint=20"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "wmv1.asf": {"codec": "wmv1"},
    "h263.avi": {"codec": "h263", "size": (96, 128)},
    "wmv2.asf": {"codec": "wmv2"},
    "flv1.flv": {"codec": "flv"},
    "ffv1.mkv": {"codec": "ffv1"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
}
# Containers whose display times are written as the packets come: 0, 1, 2, ...
IN_DECODING_ORDER = {
    "h264-1.mp4": {**H264, "num_b_frames": 1},
    "h264-pyramid.mp4": PYRAMID,
    "h264-pyramid.mov": PYRAMID,
    "h264-pyramid.mkv": PYRAMID,
    "h264-pyramid.flv": PYRAMID,
    "h264-open-gop.mp4": OPEN_GOP,
    "h264-open-gop.mkv": OPEN_GOP,
    "h264-16.mp4": DEEP,
    "h264-16.flv": DEEP,
    "hevc-pyramid.mp4": HEVC_PYRAMID,
    "hevc-pyramid.mkv": HEVC_PYRAMID,
    "hevc-closed-8.mp4": HEVC_CLOSED,
    "mpeg4-2.mp4": MPEG4,
    "mpeg4-2.mov": MPEG4,
    "mpeg4-2.mkv": MPEG4,
    "mpeg2-2.mkv": MPEG2,
}
CASES = [
    pytest.param(name, options, in_order, id=f"{name}{'-decoding-order' if in_order else ''}")
    for encodings, in_order in ((ENCODINGS, False), (IN_DECODING_ORDER, True))
    for name, options in encodings.items()
]


def read_whole(path):
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def draw_reads(name, num_frames):
    """Yield lists of indices: clips with a step, and frames in any order."""
    rng = random.Random(name)
    for number in range(NUM_READS):
        if number % 2:
            step = rng.randint(1, 12)
            start = rng.randrange(num_frames)
            yield list(range(start, num_frames, step))[:8]
        else:
            yield rng.choices(range(num_frames), k=rng.randint(1, 6))


@pytest.fixture(scope="module")
def tally(request):
    """Numbers of reads by encoding, printed at the end."""
    reads = {}
    yield reads
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        in_order = sum("decoding-order" in name for name in reads)
        terminal.write_line(
            f"\n{len(reads)} encodings ({in_order} with times in decoding order), "
            f"{sum(reads.values())} random reads equal to the whole read"
        )


def test_there_are_enough_encodings():
    assert len(CASES) >= 40
    assert len(IN_DECODING_ORDER) >= 12


def assert_every_read_is_equal(path, whole, monkeypatch):
    held = open_video(str(path))
    monkeypatch.setattr(packets, "_MAX_HELD_BYTES", 0)
    with held, open_video(str(path)) as sought:
        for number, indices in enumerate(draw_reads(path.name, len(whole))):
            reader = sought if number % 5 == 0 else held
            np.testing.assert_array_equal(reader.get_frames(indices), whole[indices], str(indices))


@pytest.mark.parametrize(("name", "options", "in_order"), CASES)
def test_every_read_equals_the_whole_read(
    make_video,
    read_numbers,
    monkeypatch,
    tally,
    put_times_in_decoding_order,
    name,
    options,
    in_order,
):
    path = make_video(name, NUM_FRAMES, **options)
    whole = read_whole(path)
    assert read_numbers(whole) == list(range(NUM_FRAMES))
    if in_order:
        path = put_times_in_decoding_order(path)
        np.testing.assert_array_equal(read_whole(path), whole)
    assert_every_read_is_equal(path, whole, monkeypatch)
    tally[path.name] = NUM_READS


@pytest.mark.parametrize(
    ("name", "next_key"), [("h264-1.mp4", 32), ("h264-open-gop.mp4", 37), ("h264-16.mkv", 40)]
)
def test_decoding_times_in_the_first_half_of_a_video(
    make_video, monkeypatch, put_times_in_decoding_order, name, next_key
):
    path = make_video(name, NUM_FRAMES, **ENCODINGS[name])
    whole = read_whole(path)
    mixed = put_times_in_decoding_order(path, num_packets=next_key)
    assert_every_read_is_equal(mixed, whole, monkeypatch)


@pytest.mark.parametrize("name", ASSET_NAMES)
def test_every_read_of_our_clips_equals_the_whole_read(monkeypatch, name):
    whole = read_whole(ASSETS / name)
    assert len(whole) == NUM_ASSET_FRAMES
    assert_every_read_is_equal(ASSETS / name, whole, monkeypatch)
