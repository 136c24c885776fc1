"""From decoded pictures to upright RGB of the size asked for."""

import struct
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from videokd.data.reader import scaled_size

# 8 bit, 4:2:0: of nearly every video there is.
PLAIN_FORMATS = ("yuv420p", "yuvj420p")


class RgbConverter:
    """Converts and scales the pictures of a video in one go, then turns them upright.

    8 bit 4:2:0 of even size takes swscale's short path, as in every other library. Elsewhere the
    place of the chroma samples matters, which FFmpeg's filters regard and PyAV's `reformat` does
    not. Tables that depend on the sizes are kept from picture to picture: a converter belongs to
    one video.
    """

    def __init__(self) -> None:
        self._scaler: Any = VideoReformatter()

    def __call__(self, frame: Any, short_side: int) -> NDArray[np.uint8]:
        """Convert a picture.

        Args:
            frame: A PyAV frame of any format.
            short_side: Pixels; 0 leaves the size.

        Returns:
            (H, W, 3) uint8.

        Raises:
            ValueError: the picture is to be shown mirrored, or turned by less than a quarter.
        """
        height, width = scaled_size(frame.height, frame.width, short_side)
        is_even = frame.height % 2 == 0 and frame.width % 2 == 0
        if frame.format.name in (*PLAIN_FORMATS, "rgb24") and is_even:
            # threads=1: the default starts a pool of threads for every single frame.
            rgb = self._scaler.reformat(
                frame, format="rgb24", height=height, width=width, threads=1
            )
        else:
            rgb = _filter(frame, height, width)
        turns = quarter_turns(frame)
        return np.rot90(rgb.to_ndarray(), turns) if turns else rgb.to_ndarray()


def quarter_turns(frame: Any) -> int:
    """Read how many quarter turns, counterclockwise, bring a picture upright.

    Raises:
        ValueError: the picture is to be shown mirrored, or turned by less than a quarter.
    """
    try:
        matrix = bytes(frame.side_data["DISPLAYMATRIX"])
    except (KeyError, ValueError):  # None, or data of a kind that PyAV has no name for.
        return round(frame.rotation / 90)
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if a * d <= b * c or ((a or d) and (b or c)):
        raise ValueError(f"its display matrix is no quarter turn: {a}, {b}, {c}, {d}")
    return round(frame.rotation / 90)


def shown_size(frame: Any) -> tuple[int, int]:
    """Compute (height, width) of a picture when it is upright.

    Raises:
        ValueError: see `quarter_turns`.
    """
    size = (frame.height, frame.width)
    return size[::-1] if quarter_turns(frame) % 2 else size


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
