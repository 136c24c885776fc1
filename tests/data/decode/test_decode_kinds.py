"""Every kind of file that datasets hold: each frame is the right one, or is refused."""

import struct

import av
import numpy as np
import pytest

from videokd.curation.encode_spec import EncodeSpec
from videokd.curation.transcode import transcode
from videokd.data.decode import open_video, packets
from videokd.utils.errors import VideoError

NUM_FRAMES = 50
VARIABLE_MS = [40 * n + (n % 3) * 11 + (500 if n > 20 else 0) for n in range(NUM_FRAMES)]
X264 = {"codec": "libx264", "num_b_frames": 3}
X265 = {"codec": "libx265", "num_b_frames": 3}
KINDS = {
    "plain.avi": {"codec": "mpeg4"},
    "b_frames.avi": {"codec": "mpeg4", "num_b_frames": 2},
    "b_frames.mp4": {"codec": "mpeg4", "num_b_frames": 2},
    "h264.mp4": X264,
    "one_gop.mkv": {**X264, "gop": 250},
    "h264.avi": X264,
    "h264.ts": X264,
    "open_gop.mp4": {**X264, "x264-params": "open-gop=1:scenecut=0:b-adapt=0:b-pyramid=none"},
    "open_gop.mkv": {**X264, "x264-params": "open-gop=1:scenecut=0:b-adapt=0"},
    "open_gop_h265.mp4": {**X265, "x265-params": "open-gop=1:scenecut=0:log-level=none"},
    "intra_refresh.mp4": {"codec": "libx264", "x264-params": "intra-refresh=1"},
    "variable_rate.mp4": {**X264, "times_ms": VARIABLE_MS},
    "variable_rate.mkv": {"codec": "libvpx-vp9", "times_ms": VARIABLE_MS},
    "late_start.mp4": {**X264, "times_ms": [8333 + 40 * n for n in range(NUM_FRAMES)]},
    "ten_bit.mp4": {**X264, "pix_fmt": "yuv420p10le"},
    "ten_bit_h265.mkv": {**X265, "pix_fmt": "yuv420p10le", "x265-params": "log-level=none"},
    "444.mp4": {**X264, "pix_fmt": "yuv444p"},
    "odd.mp4": {"codec": "mpeg2video", "size": (49, 63)},
    "odd.webm": {"codec": "libvpx-vp9", "size": (49, 63)},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg1.mpg": {"codec": "mpeg1video", "num_b_frames": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "num_b_frames": 2},
    "wmv.asf": {"codec": "wmv2"},
    "flash.flv": {"codec": "flv"},
    "msmpeg4.avi": {"codec": "msmpeg4", "mbd": "rd"},
    "av1.mkv": {"codec": "libsvtav1", "size": (64, 64), "svtav1-params": "keyint=20"},
    "raw.h264": X264,
    "raw.hevc": X265,
}
# A picture that shows no more than the last one: P, no time, not coded.
PLACEHOLDER = b"\0\0\1\xb6\x50\x40"
# (a, b, c, d) of a display matrix, and how a player shows the picture: quarter turns to the left,
# then mirrored left to right or not.
TURNS = {
    (1, 0, 0, 1): (0, False),
    (0, 0, 0, 0): (0, False),
    (0, -1, 1, 0): (1, False),
    (-1, 0, 0, -1): (2, False),
    (0, 1, -1, 0): (3, False),
    (-1, 0, 0, 1): (0, True),
    (0, -1, -1, 0): (1, True),
    (1, 0, 0, -1): (2, True),
    (0, 1, 1, 0): (3, True),
}


def pack(path, target):
    """Write an AVI's B-frames as XviD's packed bitstream does."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        contents = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        for place, content in enumerate(_pack_all(contents)):
            packet = av.Packet(len(content))
            packet.update(content)
            packet.stream, packet.pts, packet.dts = stream, place, place
            packet.is_keyframe = kind_of(content) == 0
            container.mux(packet)
    return target


def kind_of(content):
    """0 for I, 1 for P, 2 for B."""
    return content[content.find(b"\0\0\1\xb6") + 4] >> 6


def _pack_all(contents):
    packed = []
    for n, content in enumerate(contents):
        start = content.find(b"\0\0\1\xb6")
        if kind_of(content) == 0:
            content = content[:start] + b"\0\0\1\xb2DivX503b1393p" + content[start:]
        if kind_of(content) != 2:
            packed.append(content)
        elif kind_of(contents[n - 1]) != 2:
            packed[-1] += content
        else:
            packed.append(content)
        is_last = kind_of(content) == 2 and (
            n + 1 == len(contents) or kind_of(contents[n + 1]) != 2
        )
        if is_last:
            packed.append(PLACEHOLDER)
    return packed


def write_display_matrix(path, matrix):
    a, b, c, d = (value * 65536 for value in matrix)
    data = bytearray(path.read_bytes())
    start = data.find(b"tkhd") + 44
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def read_each(video):
    return np.concatenate([video.get_frames([n]) for n in range(video.num_frames)])


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "sought"])
@pytest.mark.parametrize("name", KINDS)
def test_every_single_frame_is_the_right_one(make_video, read_numbers, monkeypatch, name, is_held):
    path = make_video(name, NUM_FRAMES, **KINDS[name])
    if not is_held:
        monkeypatch.setattr(packets, "_MAX_HELD_BYTES", 0)
    with open_video(str(path)) as video:
        read_through = video.get_frames(range(NUM_FRAMES))
        assert read_numbers(read_through) == list(range(NUM_FRAMES))
        np.testing.assert_array_equal(read_each(video), read_through)


@pytest.mark.parametrize("name", ["open_gop.mp4", "open_gop.mkv", "open_gop_h265.mp4", "mpeg2.mpg"])
def test_open_gops_are_tested(make_video, name):
    path = make_video(name, NUM_FRAMES, **KINDS[name])
    with av.open(str(path)) as container:
        read = [packet for packet in container.demux(video=0) if packet.size]
    keys = [n for n, packet in enumerate(read) if packet.is_keyframe]
    assert any(read[key + 1].pts < read[key].pts for key in keys[1:])


@pytest.mark.parametrize("num_b_frames", [1, 2, 3])
def test_packed_b_frames_are_found_at_random_and_without_counting(
    make_video, read_numbers, num_b_frames
):
    plain = make_video("plain.avi", NUM_FRAMES, codec="mpeg4", num_b_frames=num_b_frames)
    path = pack(plain, plain.with_name("packed.avi"))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with open_video(str(path)) as video:
        assert (video.num_frames, video.num_decoded) == (NUM_FRAMES, 0)
        found = read_each(video)
        assert read_numbers(found) == list(range(NUM_FRAMES))
        np.testing.assert_array_equal(found, frames)
        assert video.num_opens == 1
        start = video.num_decoded
        video.get_frames([NUM_FRAMES - 1])
        assert video.num_decoded - start < NUM_FRAMES // 2


def test_a_packing_of_another_kind_is_counted(make_video, read_numbers, monkeypatch):
    plain = make_video("plain.avi", NUM_FRAMES, codec="mpeg4", num_b_frames=2)
    path = pack(plain, plain.with_name("packed.avi"))
    monkeypatch.setattr(packets.PacketFile, "_parse_vops", lambda file: None)
    with open_video(str(path)) as video:
        assert video.num_decoded == NUM_FRAMES
        assert read_numbers(video.get_frames([30, 2])) == [30, 2]


@pytest.mark.parametrize(("matrix", "shown"), TURNS.items())
def test_a_display_matrix_turns_and_mirrors_the_picture(make_video, matrix, shown):
    path = make_video("a.mp4", 3, codec="libx264")
    with open_video(str(path)) as video:
        plain = video.get_frames([0, 2])
    write_display_matrix(path, matrix)
    with open_video(str(path)) as video:
        found = video.get_frames([0, 2])
        assert (video.height, video.width) == found.shape[1:3]
    turns, is_mirrored = shown
    expected = np.rot90(plain, turns, axes=(1, 2))
    np.testing.assert_array_equal(found, expected[:, :, ::-1] if is_mirrored else expected)
    transcode(path, path.with_name("new.mp4"), EncodeSpec(crf=0))
    with open_video(str(path.with_name("new.mp4"))) as video:
        assert np.abs(video.get_frames([0, 2]).astype(int) - found).mean() < 3


@pytest.mark.parametrize("matrix", [(1, 1, -1, 1), (1, 0, 0, 0), (1, 1, 0, 1)])
def test_another_display_matrix_is_refused(make_video, matrix):
    path = make_video("a.mp4", 3, codec="libx264")
    write_display_matrix(path, matrix)
    with (
        open_video(str(path)) as video,
        pytest.raises(VideoError, match="display matrix is no mirroring or quarter turn"),
    ):
        video.get_frames([0])


@pytest.mark.parametrize("name", ["variable_rate.mp4", "variable_rate.mkv", "late_start.mp4"])
def test_times_are_those_that_were_written_from_zero(make_video, name):
    written = KINDS[name]["times_ms"]
    with open_video(str(make_video(name, NUM_FRAMES, **KINDS[name]))) as video:
        assert video.times == pytest.approx((np.array(written) - written[0]) / 1000, abs=1e-3)


@pytest.mark.parametrize("name", ["plain.avi", "b_frames.avi", "h264.avi", "mpeg2.mpg"])
def test_times_of_a_constant_rate_are_even(make_video, name):
    with open_video(str(make_video(name, NUM_FRAMES, **KINDS[name]))) as video:
        assert video.times == pytest.approx(np.arange(NUM_FRAMES) / 25)
