"""Interface of all video readers, whether they decode a file or read a cache."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from videokd.utils.errors import VideoError

MAX_OUTPUT_BYTES = 8 * 2**30

_Self = TypeVar("_Self", bound="VideoReader")


class VideoReader(Protocol):
    """An open video. Close it after use; do not share it between threads or across a fork."""

    @property
    def num_frames(self) -> int:
        """Number of frames that a player shows, > 0."""

    @property
    def fps(self) -> float:
        """Average frames per second; 0.0 if the container does not state it."""

    @property
    def height(self) -> int:
        """Pixels, after rotation."""

    @property
    def width(self) -> int:
        """Pixels, after rotation."""

    @property
    def backend(self) -> str:
        """Source of the frames: "pyav", "decord", "torchcodec" or "cache"."""

    @property
    def times(self) -> NDArray[np.float64]:
        """Display time of each frame in seconds from the first one; (num_frames,), ascending.

        n / fps if the container has no usable times.
        """

    @property
    def num_opens(self) -> int:
        """Number of times that a file was opened so far."""

    @property
    def num_decoded(self) -> int:
        """Number of frames decoded so far, up to the last wanted frame of each read."""

    def get_frames(self, indices: Sequence[int], *, short_side: int = 0) -> NDArray[np.uint8]:
        """Read frames.

        Args:
            indices: Frames 0 .. num_frames - 1, in any order, repetitions allowed.
            short_side: Short side to scale the frames to, pixels; 0 keeps their size.

        Returns:
            (len(indices), height, width, 3) uint8, RGB, in the requested order.

        Raises:
            VideoError: a frame cannot be decoded.
            IndexError: an index is not a frame of the video.
        """

    def close(self) -> None:
        """Release the file."""

    def __enter__(self: _Self) -> _Self: ...

    def __exit__(self, *exc: object) -> None: ...


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """Facts about a video that need no full decoding.

    Args:
        num_frames: Frames that a player shows, > 0.
        fps: Average frames per second; 0.0 if the container does not state it.
        duration_sec: Seconds from the first frame to the end of the last; 0.0 if unknown.
        height: Pixels, after rotation.
        width: Pixels, after rotation.
        codec: FFmpeg's name.
        container: FFmpeg's name.
        is_counted: Whether the times in the container are unusable, so that the frames were counted
            by decoding.
    """

    num_frames: int
    fps: float
    duration_sec: float
    height: int
    width: int
    codec: str
    container: str
    is_counted: bool


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Compute (height, width) after scaling the short side to `short_side`; 0 keeps the size."""
    if short_side == 0:
        return height, width
    scale = short_side / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def describe_size_change(before: tuple[int, int], after: tuple[int, int]) -> str:
    """Return the reason why a video with two frame sizes, (height, width) each, is not used."""
    sizes = [f"{width}x{height}" for height, width in (before, after)]
    return (
        f"the size of its frames changes from {sizes[0]} to {sizes[1]}; "
        "write it anew with `videokd prepare convert`"
    )


class FrameSink:
    """Collector of wanted frames in one array, in the requested order.

    Args:
        path: The video, for messages.
        indices: Requested frames, in any order, repetitions allowed.
        num_frames: Frames in the video.

    Raises:
        IndexError: an index is not a frame of the video.
    """

    def __init__(self, path: str, indices: Sequence[int], num_frames: int) -> None:
        self._path = path
        self._num_indices = len(indices)
        self._places: dict[int, list[int]] = defaultdict(list)
        for place, index in enumerate(indices):
            if not 0 <= index < num_frames:
                raise IndexError(f"{path}: frame {index} of {num_frames} does not exist")
            self._places[int(index)].append(place)
        self.wanted = sorted(self._places)
        self.missing = set(self.wanted)
        self._frames = np.empty((0, 0, 0, 3), np.uint8)

    def put(self, index: int, frame: NDArray[np.uint8]) -> None:
        """Store a wanted frame, (H, W, 3); all frames must have the size of the first one."""
        if len(self._frames) == 0:
            if self._num_indices * frame.nbytes > MAX_OUTPUT_BYTES:
                raise VideoError(
                    self._path,
                    f"{self._num_indices} frames of {frame.shape[1]}x{frame.shape[0]} pixels are "
                    f"more than {MAX_OUTPUT_BYTES} bytes",
                )
            self._frames = np.empty((self._num_indices, *frame.shape), np.uint8)
        if frame.shape != self._frames.shape[1:]:
            cause = describe_size_change(self._frames.shape[1:3], frame.shape[:2])
            raise VideoError(self._path, cause)
        self._frames[self._places[index]] = frame
        self.missing.discard(index)

    def result(self) -> NDArray[np.uint8]:
        """Return (number of indices, H, W, 3); all wanted frames must have been stored."""
        assert not self.missing, f"{self._path}: frames {sorted(self.missing)} were not put"
        return self._frames
