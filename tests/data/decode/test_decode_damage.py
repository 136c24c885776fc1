"""Damaged files: an error, never other frames."""

import av
import numpy as np
import pytest

from videokd.data.decode import open_video
from videokd.utils.errors import VideoError

NUM_FRAMES = 12
KINDS = {
    "a.mp4": {"codec": "libx264"},
    "b.mp4": {"codec": "libx264", "bf": "2"},
    "a.avi": {"codec": "mpeg4"},
    "b.avi": {"codec": "mpeg4", "bf": "2"},
    "a.webm": {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"},
    "hevc.mp4": {"codec": "libx265", "x265-params": "log-level=none"},
}
# Frames that one damaged packet costs at most; with noise, x264 makes no key frame of the seventh.
MAX_REFUSED = {"a.mp4": 9, "b.mp4": 9, "a.avi": 2, "b.avi": 3, "a.webm": 5, "hevc.mp4": 6}
NUM_B_FRAMES = 2


def write_noise(path, codec, **options):
    """Write pictures whose packets have kilobytes, in two groups."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.bit_rate, stream.codec_context.gop_size = 2_000_000, 6
        stream.codec_context.thread_count = 1
        for _ in range(NUM_FRAMES):
            noise = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode(None))


def read_all(path):
    """Read frame by frame; None for those that are refused."""
    with open_video(str(path), expected_frames=NUM_FRAMES) as video:
        frames = []
        for index in range(video.num_frames):
            try:
                frames.append(video.get_frames([index])[0])
            except VideoError:
                frames.append(None)
        return frames


def find_packets(path):
    with av.open(str(path)) as container:
        read = [packet for packet in container.demux(video=0) if packet.size]
        return [(packet.pos, packet.size) for packet in read]


def assert_refused_from(number, path, sound):
    """Check that damage in packet ``number`` costs frames from there on, and changes none."""
    found = read_all(path)
    refused = [index for index, frame in enumerate(found) if frame is None]
    assert 1 <= len(refused) <= MAX_REFUSED[path.name]
    assert min(refused) >= number - NUM_B_FRAMES
    for frame, expected in zip(found, sound, strict=True):
        assert frame is None or np.array_equal(frame, expected)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_a_block_of_zeros_is_noticed(tmp_path, name, seed):
    path = tmp_path / name
    write_noise(path, **KINDS[name])
    sound = read_all(path)
    rng = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    packets = find_packets(path)
    assert min(size for _, size in packets) > 600
    number = int(rng.integers(len(packets)))
    pos, size = packets[number]
    start = pos + int(rng.integers(64, size - 400))
    data[start : start + 256] = bytes(256)
    path.write_bytes(data)
    assert_refused_from(number, path, sound)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_off_is_no_shorter_video(tmp_path, name, share):
    path = tmp_path / name
    write_noise(path, **KINDS[name])
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    # What an MP4 holds is listed at its end.
    counts = r"cut off: \d+ of (12 frames|\d+ bytes)|\d+ frames decode, the index says 12"
    cause = "Invalid data|moov" if path.suffix == ".mp4" else counts
    with pytest.raises(VideoError, match=cause):
        read_all(path)


@pytest.mark.parametrize("name", ["a.mp4", "b.mp4", "a.avi", "b.avi"])
@pytest.mark.parametrize("seed", range(5))
def test_overwritten_pictures_are_noticed(tmp_path, name, seed):
    path = tmp_path / name
    write_noise(path, **KINDS[name])
    sound = read_all(path)
    rng = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    packets = find_packets(path)
    number = int(rng.integers(len(packets)))
    pos, size = packets[number]
    start = pos + size // 3
    data[start : start + 64] = rng.integers(0, 256, 64, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    assert_refused_from(number, path, sound)


def test_frames_predicted_from_a_damaged_one_are_refused_up_to_the_next_key_frame(tmp_path):
    path = tmp_path / "a.mp4"
    write_noise(path, "libx264", bf="0", sc_threshold="0")
    sound = read_all(path)
    data = bytearray(path.read_bytes())
    pos, size = find_packets(path)[2]
    data[pos + size // 2 : pos + size // 2 + 99] = bytes(99)
    path.write_bytes(data)
    found = read_all(path)
    assert [frame is None for frame in found] == [False] * 2 + [True] * 4 + [False] * 6
    for frame, expected in zip(found, sound, strict=True):
        assert frame is None or np.array_equal(frame, expected)


def test_damage_that_ffmpeg_conceals_is_an_error(tmp_path):
    path = tmp_path / "a.mp4"
    write_noise(path, "libx264", bf="0", sc_threshold="0")
    with open_video(str(path)) as video:
        sound = video.get_frames([0, 7])
    data = bytearray(path.read_bytes())
    pos, size = find_packets(path)[8]
    data[pos + size // 2 : pos + size] = b"\x55" * (size - size // 2)
    path.write_bytes(data)
    with open_video(str(path)) as video:
        np.testing.assert_array_equal(video.get_frames([0, 7]), sound)
        for wanted in ([8], [10], [0, 8]):
            with pytest.raises(VideoError, match="frame 8 is damaged|cannot be decoded"):
                video.get_frames(wanted)


def test_a_b_frame_whose_later_reference_is_damaged_is_refused(tmp_path):
    path = tmp_path / "b.avi"
    write_noise(path, "mpeg4", bf="2")
    with open_video(str(path)) as video:
        table = video.file.table
        sound = video.get_frames([0])
    key = int(table.key_pts[-1])
    # Shown before the key frame, decoded after it, and needs it.
    assert table.numbers[key - 1] > table.numbers[key]
    data = bytearray(path.read_bytes())
    pos, size = find_packets(path)[table.numbers[key]]
    data[pos + size // 2 : pos + size // 2 + 64] = b"\x55" * 64
    path.write_bytes(data)
    with open_video(str(path)) as video:
        np.testing.assert_array_equal(video.get_frames([0]), sound)
        with pytest.raises(VideoError, match=f"a frame that frame {key - 1} needs is damaged"):
            video.get_frames([key - 1])
