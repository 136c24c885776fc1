"""Conversion of decoded pictures to upright RGB of a given size."""

import struct
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from videokd.data.decode.reader import scaled_size

# 8-bit 4:2:0, the format of nearly all videos.
PLAIN_FORMATS = ("yuv420p", "yuvj420p")


class Orientation(NamedTuple):
    """One of the 8 rotations and mirrorings of a picture.

    Args:
        is_transposed: Whether rows and columns are exchanged first.
        flips_x: Whether columns are then reversed.
        flips_y: Whether rows are then reversed.
    """

    is_transposed: bool = False
    flips_x: bool = False
    flips_y: bool = False

    def apply(
        self, picture: NDArray[np.uint8], *, axes: tuple[int, int] = (0, 1)
    ) -> NDArray[np.uint8]:
        """Return a view of the picture in this orientation; its height and width are at `axes`."""
        if self.is_transposed:
            picture = picture.swapaxes(*axes)
        if self.flips_y:
            picture = np.flip(picture, axes[0])
        return np.flip(picture, axes[1]) if self.flips_x else picture


# Indexed by quarter turns counterclockwise.
_TURNS = (
    Orientation(),
    Orientation(is_transposed=True, flips_y=True),
    Orientation(flips_x=True, flips_y=True),
    Orientation(is_transposed=True, flips_x=True),
)


class RgbConverter:
    """Converter that scales the pictures of a video to RGB in one step, then turns them upright.

    8-bit 4:2:0 of even size takes swscale's fast path, as in all other libraries. Other formats
    need the position of the chroma samples, which FFmpeg's filters respect and PyAV's `reformat`
    ignores. Lookup tables for the sizes are kept between pictures, so use one converter per video.
    """

    def __init__(self) -> None:
        self._scaler: Any = VideoReformatter()

    def __call__(self, frame: Any, short_side: int) -> NDArray[np.uint8]:
        """Convert a picture.

        Args:
            frame: A PyAV frame of any format.
            short_side: Short side of the result, pixels; 0 keeps the size.

        Returns:
            (H, W, 3) uint8.

        Raises:
            ValueError: see `find_orientation`.
        """
        height, width = scaled_size(frame.height, frame.width, short_side)
        is_even = frame.height % 2 == 0 and frame.width % 2 == 0
        if frame.format.name in (*PLAIN_FORMATS, "rgb24") and is_even:
            # threads=1, since the default starts a thread pool for every frame.
            rgb = self._scaler.reformat(
                frame, format="rgb24", height=height, width=width, threads=1
            )
        else:
            rgb = _filter(frame, height, width)
        return find_orientation(frame).apply(rgb.to_ndarray())


def find_orientation(frame: Any) -> Orientation:
    """Return the orientation that makes a picture upright, from its display matrix.

    As in players, a matrix of zeros is the identity. Scales are ignored.

    Raises:
        ValueError: the matrix shears the picture, or rotates it by other than quarter turns.
    """
    try:
        matrix = bytes(frame.side_data["DISPLAYMATRIX"])
    except (KeyError, ValueError):  # No matrix, or side data that PyAV has no name for.
        return _TURNS[round(frame.rotation / 90) % 4]
    # Pixel (x, y) is displayed at (a x + c y, b x + d y).
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if not (a or b or c or d):
        return Orientation()
    if a and d and not (b or c):
        return Orientation(flips_x=a < 0, flips_y=d < 0)
    if b and c and not (a or d):
        return Orientation(is_transposed=True, flips_x=c < 0, flips_y=b < 0)
    raise ValueError(
        f"its display matrix is no mirroring or quarter turn: {a}, {b}, {c}, {d}; "
        "write it upright with ffmpeg -i FILE NEW.mp4"
    )


def shown_size(frame: Any) -> tuple[int, int]:
    """Return (height, width) of a picture after turning it upright.

    Raises:
        ValueError: see `find_orientation`.
    """
    size = (frame.height, frame.width)
    return size[::-1] if find_orientation(frame).is_transposed else size


def _filter(frame: Any, height: int, width: int) -> Any:
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    scale = graph.add("scale", f"w={width}:h={height}")
    rgb, sink = graph.add("format", "rgb24"), graph.add("buffersink")
    source.link_to(scale)
    scale.link_to(rgb)
    rgb.link_to(sink)
    graph.configure()
    graph.push(frame)
    return graph.pull()
