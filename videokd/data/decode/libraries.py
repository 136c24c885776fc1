"""Readers of decord and torchcodec, and the rule for the files that they may read.

Their frames are returned unchecked, so each library reads only the kinds of files for which
`tests/data/decode/test_libraries.py` finds its frames equal to PyAV's bit for bit. A file must be
of a pair in READS and pass `find_obstacle`. Everything else is refused; PyAV reads it.
"""

import io
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from videokd.data.decode.decoding import FrameDecoder
from videokd.data.decode.errors import library_errors, short_cause
from videokd.data.decode.frame_table import FrameTable
from videokd.data.decode.packets import PacketFile
from videokd.data.decode.reader import FrameSink
from videokd.data.decode.rgb import PLAIN_FORMATS, RgbConverter, find_orientation, shown_size
from videokd.utils.errors import InputError, VideoError

# Library -> (container, codec) that it reads, by FFmpeg's names; "mov" is also MP4, "matroska" is
# also WebM. decord's entries are measured with decord 0.6.0. torchcodec's entry is deliberately
# small: its test runs only where torchcodec and FFmpeg's libraries are installed.
READS = {
    "decord": (
        ("mov", "h264"),
        ("mov", "vp9"),
        ("matroska", "h264"),
        ("matroska", "vp8"),
        ("matroska", "vp9"),
    ),
    "torchcodec": (("mov", "h264"),),
}
_NUM_FRAMES_PER_BATCH = 32


def find_obstacle(library: str, file: PacketFile, first_frame: Any) -> str:
    """Return the property of a file that a library is not known to handle; "" if there is none.

    Args:
        library: "decord" or "torchcodec".
        file: The file.
        first_frame: Its first frame, decoded by PyAV.
    """
    context, table = file.codec_context, file.table
    if (file.source.container, file.codec) not in READS[library]:
        return f"{file.source.container}/{file.codec}"
    if context.pix_fmt not in PLAIN_FORMATS or context.width % 2 or context.height % 2:
        # decord's FFmpeg (4.1) places the chroma samples of these differently.
        return "video that is not 8-bit 4:2:0 of even size"
    if file.num_streams > 1:
        return "a file with several video streams"
    if any(find_orientation(first_frame)):
        # decord ignores mirroring, and fails to rotate frames of some sizes.
        return "rotated or mirrored video"
    if table.is_counted:
        return "frames whose times are missing or out of order"
    if not table.has_closed_groups:
        # After a seek, decord counts frames from the wrong one.
        return "frames that are shown before a key frame and decoded after it"
    if library == "torchcodec" and not _has_constant_rate(table):
        return "a varying frame rate"
    return ""


class LibraryReader:
    """Reader of another library's frames; see `reader.VideoReader`.

    PyAV lists the packets and decodes the first frame, which gives the number, times and size of
    the frames. The library decodes the wanted frames. decord and torchcodec do not report all
    damage, and decord scales frames whose size changes.

    Args:
        library: "decord" or "torchcodec".
        file: The file; closed with the reader, also if the reader cannot be made.
        expected_frames: Minimum number of frames of the file; 0 if unknown.

    Raises:
        VideoError: the library is not known to read such a file exactly, or fails; or the file has
            fewer frames than expected.
        InputError: the library cannot be used here.
    """

    num_opens = 2

    def __init__(self, library: str, file: PacketFile, *, expected_frames: int = 0) -> None:
        self.backend = library
        self._path = file.source.name
        self._file = file
        self._to_rgb = RgbConverter()
        try:
            _check_usable(library)
            self._library = self._open(expected_frames)
        except BaseException:
            file.close()
            raise

    @property
    def num_frames(self) -> int:
        """Number of frames that a player shows, > 0."""
        return len(self._file.table.pts)

    @property
    def fps(self) -> float:
        """Average frames per second; 0.0 if the container does not state it."""
        return self._file.fps

    @property
    def times(self) -> NDArray[np.float64]:
        """Display time of each frame in seconds from the first one."""
        return self._file.times(self.num_frames)

    def get_frames(self, indices: Sequence[int], *, short_side: int = 0) -> NDArray[np.uint8]:
        """Read frames; see `VideoReader`."""
        sink = FrameSink(self._path, indices, self.num_frames)
        with library_errors(self._path):
            for start in range(0, len(sink.wanted), _NUM_FRAMES_PER_BATCH):
                batch = sink.wanted[start : start + _NUM_FRAMES_PER_BATCH]
                for index, frame in zip(batch, self._library.read(batch), strict=True):
                    sink.put(index, self._scale(frame, short_side))
                    self.num_decoded += 1
        return sink.result()

    def close(self) -> None:
        """Release the file."""
        self._library.close()
        self._file.close()

    def __enter__(self) -> "LibraryReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self, expected_frames: int) -> "_OpenLibrary":
        with library_errors(self._path):
            decoder = FrameDecoder(self._file, expected_frames=expected_frames)
            _, first_frame = next(decoder.read([0]))
            self.height, self.width = shown_size(first_frame)
            # The libraries do not report the frames that they decode and drop.
            self.num_decoded = decoder.num_decoded
            obstacle = find_obstacle(self.backend, self._file, first_frame)
        if obstacle:
            pairs = ", ".join(f"{container}/{codec}" for container, codec in READS[self.backend])
            raise VideoError(
                self._path,
                f"{self.backend} is not used for {obstacle}; it reads {pairs}, within the limits "
                "in docs/decoders.md. Decoder auto (PyAV) reads this file",
            )
        library = _Decord(self._file) if self.backend == "decord" else _Torchcodec(self._file)
        if library.num_frames != self.num_frames:
            library.close()
            raise VideoError(
                self._path,
                f"{self.backend} sees {library.num_frames} frames, {self.num_frames} are shown. "
                "Decoder auto (PyAV) reads this file",
            )
        return library

    def _scale(self, frame: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
        if short_side == 0:
            return frame
        source = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        return self._to_rgb(source, short_side)


def _check_usable(library: str) -> None:
    problem = decord_problem() if library == "decord" else torchcodec_problem()
    if problem:
        raise InputError(f"{library} cannot be used here ({problem}); use decoder auto (PyAV)")


class _OpenLibrary(Protocol):
    """A decoder library with one open file."""

    num_frames: int

    def read(self, batch: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames of ascending indices as (H, W, 3) RGB, upright."""

    def close(self) -> None:
        """Release the file."""


class _Decord:
    """decord's reader, in one thread."""

    def __init__(self, file: PacketFile) -> None:
        import decord

        with library_errors(file.source.name):
            self._reader: Any = decord.VideoReader(file.source.decoder_path, num_threads=1)
            self.num_frames = len(self._reader)

    def read(self, batch: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        frames = self._reader.get_batch(list(batch))
        # `import pytorchvideo.data` makes decord return torch tensors in the whole process.
        yield from frames.asnumpy() if hasattr(frames, "asnumpy") else frames.numpy()

    def close(self) -> None:
        self._reader = None


class _Torchcodec:
    """torchcodec's decoder, which needs FFmpeg's shared libraries on the machine.

    The time that comes with each frame is compared, which needs no second decoding.
    """

    def __init__(self, file: PacketFile) -> None:
        self._path = file.source.name
        self._times_sec = file.table.pts * float(file.stream.time_base)
        with library_errors(self._path):
            self._decoder: Any = _make_torchcodec_decoder(file.source.decoder_path)
            self.num_frames = len(self._decoder)

    def read(self, batch: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        found = self._decoder.get_frames_at(list(batch))
        for index, frame, time_sec in zip(batch, found.data, found.pts_seconds, strict=True):
            nearest = int(np.abs(self._times_sec - float(time_sec)).argmin())
            if nearest != index:
                raise VideoError(self._path, f"torchcodec gives frame {nearest} for {index}")
            yield frame.numpy()

    def close(self) -> None:
        self._decoder = None


def decord_problem() -> str:
    """Return the reason why decord cannot be used here; "" if it can."""
    try:
        import decord  # noqa: F401
    except Exception as error:  # ImportError, or OSError of its shared library.
        return short_cause(error)
    return ""


@cache
def torchcodec_problem() -> str:
    """Return the reason why torchcodec cannot be used here; "" if it can.

    Decodes a tiny video, since torchcodec may be importable without FFmpeg.
    """
    try:
        _make_torchcodec_decoder(_make_tiny_video()).get_frames_at([0])
    except Exception as error:  # Any error of importing, loading or decoding.
        return short_cause(error)
    return ""


def _make_torchcodec_decoder(source: str | bytes) -> Any:
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(source, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")


def _make_tiny_video() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _has_constant_rate(table: FrameTable) -> bool:
    """Return whether frames are equally far apart, up to the rounding of times."""
    steps = np.diff(table.pts)
    return len(steps) == 0 or int(np.ptp(steps)) <= 1
