"""Each pair that a library may read gives PyAV's frames bit by bit; the rest is refused."""

import random
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from video_fixtures import ASSET_NAMES, ASSETS

from videokd.data.decode import libraries, open_video, packets, streams
from videokd.data.decode.libraries import READS, decord_problem, torchcodec_problem
from videokd.utils.errors import InputError, VideoError

CLIPS = Path(__file__).resolve().parents[4] / "shared" / "clips"
NUM_FRAMES, NUM_READS = 60, 20
H264 = {"codec": "libx264", "gop": 20}
X264_PYRAMID = {"x264-params": "scenecut=0:b-adapt=0:b-pyramid=normal"}
VP8, VP9 = {"codec": "libvpx"}, {"codec": "libvpx-vp9"}
UNEVEN = {"times_ms": [40 * n + n % 3 * 11 for n in range(NUM_FRAMES)]}
LATE = {"times_ms": [8333 + 40 * n for n in range(NUM_FRAMES)]}
STEADY_H264_KINDS = [
    H264,
    {**H264, "num_b_frames": 4, **X264_PYRAMID},
    {**H264, "num_b_frames": 16, "gop": 40, "x264-params": "scenecut=0:b-adapt=0"},
    {**H264, "x264-params": "intra-refresh=1"},
    {**H264, "num_b_frames": 2, **LATE},
    {**H264, "num_b_frames": 3, "gop": 250},
]
H264_KINDS = [*STEADY_H264_KINDS, {**H264, "num_b_frames": 2, **UNEVEN}]
VP8_KINDS = [VP8, {**VP8, "auto-alt-ref": "1", "lag-in-frames": "10"}, {**VP8, **UNEVEN}]
VP9_KINDS = [VP9, {**VP9, "auto-alt-ref": "1", "lag-in-frames": "20"}, {**VP9, **UNEVEN}]
PROOFS = {
    "decord": {
        ("mov", "h264"): ("a.mp4", H264_KINDS),
        ("mov", "vp9"): ("a.mp4", VP9_KINDS),
        ("matroska", "h264"): ("a.mkv", H264_KINDS),
        ("matroska", "vp8"): ("a.webm", VP8_KINDS),
        ("matroska", "vp9"): ("a.webm", VP9_KINDS),
    },
    "torchcodec": {("mov", "h264"): ("a.mp4", STEADY_H264_KINDS)},
}
CASES = [
    pytest.param(library, name, options, id=f"{library}-{container}-{codec}-{number}")
    for library, proofs in PROOFS.items()
    for (container, codec), (name, kinds) in proofs.items()
    for number, options in enumerate(kinds)
]
# Files that decord is not used for; after a seek, its frames of most of them are other ones.
OBSTACLES = {
    "b_frames.avi": ({"codec": "mpeg4", "num_b_frames": 2}, "avi/mpeg4"),
    "b_frames.mp4": ({"codec": "mpeg4", "num_b_frames": 2}, "mov/mpeg4"),
    "h264.ts": ({**H264, "num_b_frames": 2}, "mpegts/h264"),
    "hevc.mp4": ({"codec": "libx265", "x265-params": "log-level=none"}, "mov/hevc"),
    "odd.mkv": ({**VP9, "size": (49, 63)}, "video that is not 8-bit 4:2:0 of even size"),
    "444.mp4": ({**H264, "pix_fmt": "yuv444p"}, "video that is not 8-bit 4:2:0 of even size"),
    "open_gop.mp4": (
        {**H264, "num_b_frames": 3, "x264-params": "open-gop=1:scenecut=0:b-adapt=0"},
        "frames that are shown before a key frame and decoded after it",
    ),
}
PROBLEMS = {"decord": decord_problem(), "torchcodec": torchcodec_problem()}
needs_decord = pytest.mark.skipif(
    PROBLEMS["decord"] != "", reason=f"decord cannot be used here: {PROBLEMS['decord']}"
)
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="../shared/clips is not here")


def skip_without(library):
    if PROBLEMS[library]:
        pytest.skip(f"{library} cannot be used here: {PROBLEMS[library]}")


@pytest.fixture
def any_decord(monkeypatch):
    """Let files be examined for decord where it is not installed: refusals do not need it."""
    monkeypatch.setattr(libraries, "decord_problem", lambda: "")


def assert_equal_reads(path, library, num_reads=NUM_READS):
    """Compare random clips with a step, and random frames in any order, repetitions included."""
    rng = random.Random(str(path.name))
    with open_video(str(path)) as ours, open_video(str(path), backend=library) as theirs:
        num_frames = ours.num_frames
        assert (theirs.num_frames, theirs.backend) == (num_frames, library)
        assert (theirs.height, theirs.width, theirs.fps) == (ours.height, ours.width, ours.fps)
        np.testing.assert_array_equal(theirs.times, ours.times)
        whole = ours.get_frames(range(num_frames))
        for number in range(num_reads):
            wanted = rng.choices(range(num_frames), k=rng.randint(1, 6))
            if number % 2:
                start, step = rng.randrange(num_frames), rng.randint(1, 12)
                wanted = list(range(start, num_frames, step))[:8]
            np.testing.assert_array_equal(theirs.get_frames(wanted), whole[wanted], str(wanted))


def test_each_pair_that_a_library_reads_has_a_proof():
    assert {name: set(pairs) for name, pairs in READS.items()} == {
        name: set(proofs) for name, proofs in PROOFS.items()
    }


@pytest.mark.parametrize(("library", "name", "options"), CASES)
def test_random_reads_equal_pyavs_bit_by_bit(make_video, library, name, options):
    skip_without(library)
    assert_equal_reads(make_video(name, NUM_FRAMES, **options), library)


@needs_decord
def test_our_clips_are_read_bit_by_bit_or_refused_by_decord():
    refused = []
    for name in ASSET_NAMES:
        try:
            open_video(str(ASSETS / name), backend="decord").close()
        except VideoError:
            refused.append(name)
        else:
            assert_equal_reads(ASSETS / name, "decord")
    assert [name for name in ASSET_NAMES if name not in refused] == [
        "h264_b_frames.mp4",
        "vp9.webm",
    ]


@needs_clips
@pytest.mark.parametrize("library", READS)
def test_real_files_are_read_bit_by_bit_or_refused(library):
    skip_without(library)
    num_read = 0
    refusals = {}
    for path in sorted(path for path in CLIPS.iterdir() if path.suffix != ".md"):
        try:
            open_video(str(path), backend=library).close()
        except VideoError as error:
            refusals[path.name] = error.cause
            continue
        if path.name != "decord_corrupted.mp4":  # PyAV refuses its damaged frames.
            assert_equal_reads(path, library, num_reads=5)
        num_read += 1
    assert all(cause.endswith("auto (PyAV) reads this file") for cause in refusals.values())
    assert num_read >= 8


@pytest.mark.parametrize("name", OBSTACLES)
def test_other_files_are_refused_by_name(make_video, any_decord, name):
    options, obstacle = OBSTACLES[name]
    path = str(make_video(name, 40, **options))
    with open_video(path) as video:
        assert video.get_frames([39]).shape[0] == 1
    pairs = "mov/h264, mov/vp9, matroska/h264, matroska/vp8, matroska/vp9"
    cause = (
        f"decord is not used for {obstacle}; it reads {pairs}, within the limits in "
        "docs/decoders.md. Decoder auto (PyAV) reads this file"
    )
    with pytest.raises(VideoError, match=re.escape(cause)):
        open_video(path, backend="decord")


def turn(path, *, a, b, c, d):
    """Write another display matrix into an MP4: pixel (x, y) is shown at (a x + c y, b x + d y)."""
    data = path.read_bytes()
    start = data.index(b"tkhd") + 44
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:start] + matrix + data[start + len(matrix) :])
    return path


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (-1, 0, 0, 1)], ids=str)
def test_turned_and_mirrored_video_is_refused(make_video, any_decord, matrix):
    path = turn(make_video("a.mp4", 20, **H264), **dict(zip("abcd", matrix, strict=True)))
    with open_video(str(path)) as video:
        assert (video.height, video.width) == ((48, 64) if matrix[0] else (64, 48))
    with pytest.raises(VideoError, match="decord is not used for rotated or mirrored video; it"):
        open_video(str(path), backend="decord")


def test_times_in_decoding_order_are_refused(make_video, any_decord, put_times_in_decoding_order):
    path = put_times_in_decoding_order(make_video("a.mp4", 20, **H264, num_b_frames=1))
    with pytest.raises(VideoError, match="frames whose times are missing or out of order"):
        open_video(str(path), backend="decord")


def test_several_streams_are_refused(make_video, any_decord, monkeypatch):
    path = str(make_video("a.mp4", 20, **H264))
    monkeypatch.setattr(packets.PacketFile, "num_streams", 2)
    with pytest.raises(VideoError, match="a file with several video streams"):
        open_video(path, backend="decord")


@pytest.mark.parametrize(
    ("times_ms", "is_even"),
    [
        ([40 * n for n in range(30)], True),
        ([n * 1001 // 30 for n in range(30)], True),
        ([40 * n + n % 3 for n in range(30)], False),
    ],
)
def test_torchcodec_is_used_at_a_constant_frame_rate(make_video, monkeypatch, times_ms, is_even):
    monkeypatch.setattr(libraries, "torchcodec_problem", lambda: "")
    monkeypatch.setattr(libraries, "_make_torchcodec_decoder", lambda source: OneLate())
    path = str(make_video("a.mkv", 30, **H264, times_ms=times_ms))
    monkeypatch.setitem(READS, "torchcodec", [("matroska", "h264")])
    if is_even:
        open_video(path, backend="torchcodec").close()
        return
    with pytest.raises(VideoError, match="torchcodec is not used for a varying frame rate"):
        open_video(path, backend="torchcodec")


class OneLate:
    """torchcodec's decoder of 30 frames, each with the time of the next one."""

    def __len__(self):
        return 30

    def get_frames_at(self, indices):
        self.data = torch.zeros(len(indices), 48, 64, 3, dtype=torch.uint8)
        self.pts_seconds = torch.tensor([(index + 1) / 25 for index in indices])
        return self


def test_a_frame_of_another_time_is_not_taken(make_video, monkeypatch):
    monkeypatch.setattr(libraries, "torchcodec_problem", lambda: "")
    monkeypatch.setattr(libraries, "_make_torchcodec_decoder", lambda source: OneLate())
    path = str(make_video("a.mp4", 30, **H264))
    with (
        open_video(path, backend="torchcodec") as video,
        pytest.raises(VideoError, match="torchcodec gives frame 4 for 3"),
    ):
        video.get_frames([3])


def test_another_number_of_frames_is_refused(make_video, monkeypatch):
    monkeypatch.setattr(libraries, "torchcodec_problem", lambda: "")
    monkeypatch.setattr(libraries, "_make_torchcodec_decoder", lambda source: OneLate())
    path = str(make_video("a.mp4", 20, **H264))
    with pytest.raises(VideoError, match="torchcodec sees 30 frames, 20 are shown. Decoder auto"):
        open_video(path, backend="torchcodec")


def test_torchcodec_without_ffmpeg_is_an_input_error(make_video, monkeypatch):
    def fail(source):
        raise RuntimeError("Could not load libtorchcodec. Likely causes:\n1. FFmpeg is missing")

    monkeypatch.setattr(libraries, "_make_torchcodec_decoder", fail)
    torchcodec_problem.cache_clear()
    try:
        with pytest.raises(InputError, match="torchcodec cannot be used here .Could not load"):
            open_video(str(make_video("a.mp4", 3)), backend="torchcodec")
    finally:
        torchcodec_problem.cache_clear()


def test_a_missing_decord_is_an_input_error(make_video, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(InputError, match="decord cannot be used here .*; use decoder auto"):
        open_video(str(make_video("a.mp4", 3)), backend="decord")


@needs_decord
def test_decord_works_while_its_bridge_is_set_to_torch(make_video, read_numbers):
    import decord

    path = make_video("a.mp4", 20, **H264)
    decord.bridge.set_bridge("torch")
    try:
        with open_video(str(path), backend="decord") as video:
            assert read_numbers(video.get_frames([11, 4])) == [11, 4]
    finally:
        decord.bridge.reset_bridge()


@needs_decord
def test_pyav_decodes_the_first_frame_alone(make_video, read_numbers):
    with open_video(str(make_video("a.mp4", 60, **H264)), backend="decord") as video:
        assert (video.num_opens, video.num_decoded) == (2, 1)
        assert video.get_frames([]).shape[0] == 0
        small = video.get_frames([50, 3, 50], short_side=24)
        assert small.shape == (3, 24, 32, 3)
        assert read_numbers(small) == [50, 3, 50]
        # decord does not report the frames that it decodes on the way.
        assert video.num_decoded == 3


@needs_decord
def test_fewer_frames_than_the_index_says_are_an_error(make_video):
    path = str(make_video("a.mp4", 20, **H264))
    with pytest.raises(VideoError, match="20 frames decode, the index says 21"):
        open_video(path, backend="decord", expected_frames=21)


def test_auto_is_pyav(make_video):
    with open_video(str(make_video("a.mp4", 3))) as video:
        assert video.backend == "pyav"


def test_a_codec_that_pyav_cannot_decode_is_a_video_error(make_video, monkeypatch):
    path = str(make_video("a.mp4", 3, **H264))

    class NoDecoder:
        codec_context = None

    monkeypatch.setattr(streams, "choose_stream", lambda name, container: NoDecoder)
    with pytest.raises(VideoError, match="PyAV has no decoder for its codec"):
        open_video(path)
