"""Checked reader for libraries that conceal damage without reporting it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from videokd.data.decode.errors import library_errors
from videokd.data.decode.pyav_reader import PyavReader
from videokd.data.decode.reader import FrameSink
from videokd.data.decode.rgb import RgbConverter
from videokd.utils.errors import VideoError

_NUM_FRAMES_PER_BATCH = 32


class FrameLibrary(Protocol):
    """Decoder library with one open file."""

    name: str

    def read(self, wanted: Sequence[int]) -> Iterable[tuple[int, NDArray[np.uint8]]]:
        """Yield (index, frame as (H, W, 3) uint8 RGB, upright) for ascending indices.

        Raises:
            VideoError: the library returns another frame than the requested one.
        """

    def close(self) -> None:
        """Release the file."""


class CheckedReader:
    """Reader of another library's frames, which checks that they equal PyAV's bit for bit.

    decord and torchcodec silently replace frames they cannot decode by earlier ones, and decord
    drops damaged frames of HEVC. The check costs as much as the library's own decoding. Frames of a
    codec that PyAV cannot decode are not checked.

    Args:
        checker: PyAV reader, which provides the number and times of the frames. Closed with the
            reader.
        library: The same file in the library. Closed with the reader.
    """

    def __init__(self, *, checker: PyavReader, library: FrameLibrary) -> None:
        self._path = checker.file.source.name
        self._checker = checker
        self._library = library
        self._to_rgb = RgbConverter()
        self._shown_size: tuple[int, int] | None = None

    @property
    def backend(self) -> str:
        """Name of the library that reads the frames."""
        return self._library.name

    @property
    def num_frames(self) -> int:
        """Number of frames that a player shows, > 0."""
        return self._checker.num_frames

    @property
    def fps(self) -> float:
        """Average frames per second; 0.0 if the container does not state it."""
        return self._checker.fps

    @property
    def times(self) -> NDArray[np.float64]:
        """Display time of each frame in seconds from the first one."""
        return self._checker.times

    @property
    def height(self) -> int:
        """Pixels, after rotation."""
        return self._find_shown_size()[0]

    @property
    def width(self) -> int:
        """Pixels, after rotation."""
        return self._find_shown_size()[1]

    @property
    def num_opens(self) -> int:
        """Number of times that the file was opened."""
        return self._checker.num_opens + 1

    @property
    def num_decoded(self) -> int:
        """Number of frames decoded by the check; the libraries do not report theirs."""
        return self._checker.num_decoded

    def get_frames(self, indices: Sequence[int], *, short_side: int = 0) -> NDArray[np.uint8]:
        """Read frames; see `VideoReader`."""
        sink = FrameSink(self._path, indices, self.num_frames)
        with library_errors(self._path):
            for index, frame in self._read(sink.wanted):
                sink.put(index, self._scale(frame, short_side))
        return sink.result()

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        found = iter(self._library.read(wanted))
        if not self._checker.file.can_decode:
            yield from found
            return
        for index, expected in self._checker.read_frames(wanted):
            _, frame = next(found)
            if not np.array_equal(frame, expected):
                raise VideoError(
                    self._path, f"{self.backend} and PyAV decode frame {index} differently"
                )
            yield index, frame

    def close(self) -> None:
        """Release the file."""
        self._library.close()
        self._checker.close()

    def __enter__(self) -> "CheckedReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _scale(self, frame: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
        if short_side == 0:
            return frame
        source = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        return self._to_rgb(source, short_side)

    def _find_shown_size(self) -> tuple[int, int]:
        if self._shown_size is None:
            height, width = self.get_frames([0]).shape[1:3]
            self._shown_size = height, width
        return self._shown_size


def batches(wanted: Sequence[int]) -> Iterator[list[int]]:
    """Split indices into batches, whose frames are read together at their own size."""
    for start in range(0, len(wanted), _NUM_FRAMES_PER_BATCH):
        yield list(wanted[start : start + _NUM_FRAMES_PER_BATCH])
