"""Tiny videos whose pictures carry the number of their frame."""

import os
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from videokd.data.decode.container import VIDEO_EXTENSIONS

# Clips of our own with the codecs of real data sets; see README.md there.
ASSETS = Path(__file__).parent / "assets"
ASSET_NAMES = sorted(path.name for path in ASSETS.iterdir() if path.suffix in VIDEO_EXTENSIONS)
NUM_ASSET_FRAMES = 32
NUM_BITS = 8
HEIGHT, WIDTH = 48, 64


def _draw_number(number, height=HEIGHT, width=WIDTH):
    """Draw a picture whose n-th column of blocks is white iff bit n is set; (H, W, 3) uint8."""
    bits = [(number >> bit) & 1 for bit in range(NUM_BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 220 + 16, width // NUM_BITS)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def _read_numbers(frames):
    columns = np.asarray(frames).mean(axis=(1, 3))
    middles = ((np.arange(NUM_BITS) + 0.5) * columns.shape[1] / NUM_BITS).astype(int)
    blocks = columns[:, middles] > 128
    return [sum(1 << bit for bit in range(NUM_BITS) if row[bit]) for row in blocks]


def _write_video(
    path, num_frames, *, codec="mpeg4", num_b_frames=0, gop=12, pix_fmt="yuv420p", **odd
):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = odd.pop("size", (HEIGHT, WIDTH))
    times_ms = odd.pop("times_ms", None)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=odd)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.bit_rate = 1_000_000
        context = stream.codec_context
        context.gop_size, context.max_b_frames, context.thread_count = gop, num_b_frames, 1
        if times_ms is not None:
            context.time_base = Fraction(1, 1000)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(_draw_number(number), format="rgb24")
            frame = frame.reformat(format=pix_fmt, width=width, height=height, threads=1)
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """make_video("a.avi", 20, codec="mpeg4", num_b_frames=0, gop=12) writes under tmp_path.

    Also pix_fmt="yuv420p", size=(48, 64), times_ms=[0, 40, ...], and options of the encoder.
    """
    return lambda name, num_frames, **options: _write_video(tmp_path / name, num_frames, **options)


@pytest.fixture
def read_numbers() -> Callable[[np.ndarray], list[int]]:
    """read_numbers(frames of any size, (T, H, W, 3)) gives the numbers of the frames."""
    return _read_numbers


class _FailingContainer:
    """PyAV's container whose packets end in an error, as when a disk or a network fails."""

    def __init__(self, container, num_packets, error):
        self._container = container
        self._num_packets = num_packets
        self._error = error

    def __getattr__(self, name):
        return getattr(self._container, name)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._container.close()

    def demux(self, stream):
        yield from islice(self._container.demux(stream), self._num_packets)
        raise self._error


@pytest.fixture
def failing_reads(monkeypatch):
    """failing_reads(code, num_packets=5, num_sound=0, name="") lets reading fail from now on.

    After num_packets packets FFmpeg returns the error; not in the first num_sound openings, and
    only for the file of that name, if there is one. The result is a list of the files opened.
    """

    def start(code, *, num_packets=5, num_sound=0, name=""):
        opened, av_open = [], av.open

        def open_failing(file, *args, **options):
            opened.append(file)
            container = av_open(file, *args, **options)
            if len(opened) <= num_sound or name not in os.path.realpath(file):
                return container
            with pytest.raises(av.FFmpegError, match=os.strerror(code)) as caught:
                av.error.err_check(-code)
            return _FailingContainer(container, num_packets, caught.value)

        monkeypatch.setattr(av, "open", open_failing)
        return opened

    return start
