"""Frames of a video at given indices, in one pass. The only file that knows a decoder library.

Frame n is the n-th frame a player shows: packets that the container marks as not to be shown, and
those before the first key frame, do not count. Pixel aspect ratios are ignored, rotation is not.

An index is found exactly or VideoError is raised. Times in a container are not taken on trust:
frames come out of a decoder in the order of display, so every decoded frame must carry the time
that follows the one before it. Where it does not (XviD's packed B-frames, found in UCF101 and
HMDB51), frames are counted from the start instead.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from videokd.data.frame_table import FrameTable, Packet, build_frame_table
from videokd.data.reader import FrameSink, VideoFacts, VideoReader, scaled_size
from videokd.data.source import VideoFile, open_video_file
from videokd.utils.errors import InputError, VideoError

BACKENDS = ("auto", "decord", "pyav")
MAX_FRAME_PX = 8192 * 8192
MAX_VIDEO_FRAMES = 4_000_000

# Where decord's random access was seen to return the right frames.
_DECORD_SEEKABLE = {("mov", "h264"), ("mov", "vp9"), ("matroska", "h264"), ("matroska", "vp9")}


def open_video(path: str | VideoFile, *, backend: str = "auto") -> VideoReader:
    """Open a video file for reading frames; use it in a `with`.

    Args:
        path: A local file that the user named; or one that was opened under a root, as datasets do
            (`source.open_video_file`), which the reader closes.
        backend: "pyav", "decord", or "auto" for pyav.

    Raises:
        VideoError: the file is not a video, holds no frames, or is too large.
        InputError: backend is unknown or not installed.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    file = path if isinstance(path, VideoFile) else open_video_file(path)
    try:
        return _DecordReader(file) if backend == "decord" else _PyavReader(file)
    except BaseException:
        file.close()
        raise


def probe_video(path: str) -> VideoFacts:
    """Demux a video; its first frame is decoded, since that is what tells of a rotation.

    Raises:
        VideoError: as `open_video`, or the first frame cannot be decoded.
    """
    with _PyavReader(open_video_file(path)) as reader:
        container, codec = reader.codec
        return VideoFacts(
            num_frames=reader.num_frames,
            fps=reader.fps,
            duration_sec=reader.duration_sec,
            height=reader.height,
            width=reader.width,
            codec=codec,
            container=container,
            is_counted=reader.is_counted,
        )


class _PyavReader:
    """Reads through FFmpeg. Threads are off: workers are the parallelism."""

    backend = "pyav"

    def __init__(self, file: VideoFile) -> None:
        self._file = file
        self._path = path = file.name
        self._shown_size: tuple[int, int] | None = None
        self._failure = ""
        self._container: Any = None
        try:
            with _library_errors(path):
                self._open()
                self._table = self._scan()
                self._num_frames = self._find_num_frames()
            if self._num_frames == 0:
                raise VideoError(path, "no video frames")
        except BaseException:
            self.close()
            raise
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._fps = float(rate) if rate else 0.0

    @property
    def num_frames(self) -> int:
        return self._num_frames

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def codec(self) -> tuple[str, str]:
        """(container, codec) by FFmpeg's names."""
        return self._file.container, self._stream.codec_context.name

    @property
    def is_counted(self) -> bool:
        """Whether the frames had to be counted by decoding."""
        return self._table.is_counted

    @property
    def duration_sec(self) -> float:
        """From the first frame to the end of the last, which is taken to last like the others."""
        num_frames, times = self._num_frames, self._table.pts
        if self.is_counted or num_frames == 1:
            return num_frames / self._fps if self._fps else 0.0
        span = float((times[-1] - times[0]) * self._stream.time_base)
        return span * num_frames / (num_frames - 1)

    @property
    def height(self) -> int:
        return self._find_shown_size()[0]

    @property
    def width(self) -> int:
        return self._find_shown_size()[1]

    def get_frames(self, indices: Sequence[int], *, short_side: int = 0) -> NDArray[np.uint8]:
        sink = FrameSink(self._path, indices, self._num_frames)
        with _library_errors(self._path):
            for run in self._table.plan_runs(sink.wanted):
                self._read_run(run, sink, short_side)
        return sink.result()

    def close(self) -> None:
        self._close_container()
        self._file.close()

    def __enter__(self) -> "_PyavReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _close_container(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> None:
        self._close_container()
        self._container = av.open(
            self._file.decoder_path,
            format=self._file.container,
            container_options={"protocol_whitelist": "file"},
        )
        streams = self._container.streams.video
        if not streams:
            raise VideoError(self._path, "no video stream")
        self._stream = streams[0]
        context = self._stream.codec_context
        if context is None:
            raise VideoError(self._path, "unknown codec")
        if context.width * context.height > MAX_FRAME_PX:
            raise VideoError(
                self._path,
                f"{context.width}x{context.height} pixels, allowed are {MAX_FRAME_PX} in all",
            )
        self._stream.thread_type = "NONE"
        context.thread_count = 1
        # The size above is what the container claims; the decoder must not go beyond it either.
        context.options = {"max_pixels": str(MAX_FRAME_PX)}

    def _scan(self) -> FrameTable:
        """List the packets of the video without decoding them."""
        packets = [
            Packet(p.pts, p.is_keyframe, p.is_discard, p.is_corrupt, p.size) for p in self._demux()
        ]
        return build_frame_table(packets, codec=self._stream.codec_context.name)

    def _demux(self) -> Iterator[Any]:
        """Give the packets of the video; a file that was cut off just ends."""
        num_packets = 0
        with suppress(av.FFmpegError):
            for packet in self._container.demux(self._stream):
                if packet.size:
                    num_packets += 1
                    yield packet
                if num_packets > MAX_VIDEO_FRAMES:
                    raise VideoError(self._path, f"more than {MAX_VIDEO_FRAMES} frames")

    def _decode(self, packets: Iterable[Any]) -> Iterator[Any]:
        """Give frames in the order of display, up to the first damage, noted in _failure."""
        self._failure = ""
        try:
            for packet in chain(packets, [None]):
                yield from self._stream.decode(packet)
        except av.FFmpegError as error:
            self._failure = _short_cause(error)

    def _decode_from_start(self) -> Iterator[Any]:
        # Opened anew: not every container can seek to its first packet.
        self._open()
        yield from self._decode(self._demux())

    def _decode_from_key(self, key: int) -> Iterator[tuple[int, Any]]:
        """Seek, and give (index, frame) for as long as the times of the frames are in order."""
        pts = self._table.pts
        with suppress(av.FFmpegError):
            self._container.seek(int(self._table.key_pts[key]), stream=self._stream, backward=True)
        packets = self._demux()
        first = next((p for p in packets if p.is_keyframe), None)
        if first is None or first.pts not in self._table.key_pts:
            return
        expected = landing = int(np.searchsorted(pts, first.pts))
        for frame in self._decode(chain([first], packets)):
            # Frames that lead the key frame need the one before it to be right.
            if expected == landing and frame.pts is not None and frame.pts < pts[landing]:
                continue
            if expected == len(pts) or frame.pts != pts[expected]:
                return
            yield expected, frame
            expected += 1

    def _find_num_frames(self) -> int:
        if not self._table.is_counted:
            return len(self._table.pts)
        num_frames = self._count_by_decoding()
        # Damage is not the end: the frames behind it exist and raise when they are asked for.
        return (
            self._table.num_packets if self._failure else min(num_frames, self._table.num_packets)
        )

    def _count_by_decoding(self) -> int:
        return sum(1 for _ in self._decode_from_start())

    def _find_shown_size(self) -> tuple[int, int]:
        if self._shown_size is None:
            with _library_errors(self._path):
                # The rotation comes with the frames, not with the container.
                frame = next(self._decode_from_start(), None)
            if frame is None:
                raise VideoError(self._path, f"frame 0 cannot be decoded: {self._failure}")
            is_turned = frame.rotation % 180 != 0
            size = (frame.height, frame.width)
            self._shown_size = size[::-1] if is_turned else size
        return self._shown_size

    def _read_run(self, run: Sequence[int], sink: FrameSink, short_side: int) -> None:
        """Read ascending frames from the nearest key frame or, failing that, from further back."""
        lost: list[int] = []
        for numbered_frames in self._attempts(run[0]):
            for index, frame in numbered_frames:
                if index in sink.missing:
                    sink.put(index, _to_rgb(frame, short_side))
                if index >= run[-1]:
                    break
            # A seek may land behind the first wanted frame: having reached the last is not enough.
            lost = [index for index in run if index in sink.missing]
            if not lost:
                return
        cause = f": {self._failure}" if self._failure else ""
        raise VideoError(self._path, f"frame {lost[0]} cannot be decoded{cause}")

    def _attempts(self, index: int) -> Iterator[Iterator[tuple[int, Any]]]:
        if self._table.is_counted:
            yield enumerate(self._decode_from_start())
            return
        key = self._table.key_of(index)
        yield self._decode_from_key(key)
        if key > 0:
            yield self._decode_from_key(key - 1)
        # Times out of order, but every frame there: the n-th frame decoded is frame n.
        if not self._failure and self._count_by_decoding() == self._num_frames:
            yield enumerate(self._decode_from_start())


class _DecordReader:
    """Reads through decord: at random where that is right, else one by one from the start.

    decord returns wrong frames without a word after a seek in MPEG-4 AVI with B-frames, in HEVC
    and in MPEG-PS. What the file is comes from the other backend; so do scaling and its limits.
    """

    backend = "decord"

    def __init__(self, file: VideoFile) -> None:
        try:
            import decord
        except ImportError as error:
            raise InputError(f"decord is not installed ({error}); use backend pyav") from error
        self._decord = decord
        self._file = file
        self._path = path = file.name
        with _PyavReader(file.duplicate()) as probe:
            self._can_seek = probe.codec in _DECORD_SEEKABLE
            self._num_frames, self._fps = probe.num_frames, probe.fps
            self._size = (probe.height, probe.width)
        with _library_errors(path):
            self._reader: Any = self._open()
            num_seen = len(self._reader)
        if num_seen != self._num_frames:
            raise VideoError(path, f"decord sees {num_seen} frames, {self._num_frames} are shown")

    @property
    def num_frames(self) -> int:
        return self._num_frames

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def height(self) -> int:
        return self._size[0]

    @property
    def width(self) -> int:
        return self._size[1]

    def get_frames(self, indices: Sequence[int], *, short_side: int = 0) -> NDArray[np.uint8]:
        sink = FrameSink(self._path, indices, self._num_frames)
        with _library_errors(self._path):
            for index, frame in self._read(sink.wanted):
                source = av.VideoFrame.from_ndarray(frame, format="rgb24")
                sink.put(index, _to_rgb(source, short_side))
        return sink.result()

    def close(self) -> None:
        self._reader = None
        self._file.close()

    def __enter__(self) -> "_DecordReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> Any:
        return self._decord.VideoReader(self._file.decoder_path, num_threads=1)

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        if not wanted:
            return
        if self._can_seek:
            for index, frame in zip(wanted, _to_numpy(self._reader.get_batch(wanted)), strict=True):
                yield index, frame
            return
        reader, needed = self._open(), set(wanted)
        for index in range(wanted[-1] + 1):
            frame = reader.next()
            if index in needed:
                yield index, _to_numpy(frame)


def _to_rgb(frame: Any, short_side: int) -> NDArray[np.uint8]:
    """Convert and scale in one go, then rotate; (H, W, 3)."""
    height, width = scaled_size(frame.height, frame.width, short_side)
    # threads=1: the default starts a pool of threads for every single frame.
    rgb = frame.reformat(format="rgb24", height=height, width=width, threads=1).to_ndarray()
    return np.rot90(rgb, round(frame.rotation / 90)) if frame.rotation else rgb


def _to_numpy(frames: Any) -> NDArray[np.uint8]:
    # `import pytorchvideo.data` makes decord return torch tensors in the whole process.
    array: NDArray[np.uint8] = frames.asnumpy() if hasattr(frames, "asnumpy") else frames.numpy()
    return array


@contextmanager
def _library_errors(path: str) -> Iterator[None]:
    """Turn every error of a decoder library into VideoError."""
    try:
        yield
    except VideoError:
        raise
    except Exception as error:  # decord's own error derives from nothing narrower.
        raise VideoError(path, _short_cause(error)) from error


def _short_cause(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    # decord puts clock times and places in its own source before what went wrong.
    return str(text).strip().splitlines()[0].rpartition("] ")[2][:200]
