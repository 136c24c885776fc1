"""What is known of the files of a dataset since they were scanned, apart from any list."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from videokd.data.column_table import ColumnTable


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """One file, and what `decode.probe_video` found in it: nothing, where there is a cause.

    Args:
        path: Relative to the root of the dataset, with forward slashes.
        num_bytes: Size when it was scanned; 0 when it could not be opened.
        mtime_ns: Its time of modification, nanoseconds; 0 when it could not be opened.
        cause: Why it cannot be used; "" when it can.
        num_frames: See `reader.VideoFacts` for this and what follows.
        fps: Frames per second.
        duration_sec: Seconds.
        height: Pixels.
        width: Pixels.
        codec: FFmpeg's name.
        container: FFmpeg's name.
        is_counted: Whether the frames had to be counted by decoding.
        is_unread: Whether the machine failed (disk, network, memory), so that nothing is known.
    """

    path: str
    num_bytes: int = 0
    mtime_ns: int = 0
    cause: str = ""
    num_frames: int = 0
    fps: float = 0.0
    duration_sec: float = 0.0
    height: int = 0
    width: int = 0
    codec: str = ""
    container: str = ""
    is_counted: bool = False
    is_unread: bool = False


class MediaTable(ColumnTable[MediaInfo]):
    """Files kept by column."""

    row_type: ClassVar[type[MediaInfo]] = MediaInfo
    layout: ClassVar[Mapping[str, str]] = {
        "path": "text",
        "num_bytes": "int64",
        "mtime_ns": "int64",
        "cause": "name",
        "num_frames": "int32",
        "fps": "float64",
        "duration_sec": "float64",
        "height": "int32",
        "width": "int32",
        "codec": "name",
        "container": "name",
        "is_counted": "bool",
        "is_unread": "bool",
    }
    # To be counted up when the same file would be described in another way.
    kind: ClassVar[str] = "media 2"
