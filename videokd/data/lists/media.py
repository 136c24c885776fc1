"""Facts about a dataset's files from a scan, independent of any list."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from videokd.data.lists.column_table import ColumnTable


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Result of `decode.probe_video` for one file.

    An unusable file has only path, num_bytes, mtime_ns, cause and is_unread.

    Args:
        path: Path relative to the root of the dataset, with forward slashes.
        num_bytes: Size when it was scanned; 0 if it could not be opened.
        mtime_ns: Modification time when it was scanned, nanoseconds; 0 if it could not be opened.
        cause: Reason why it cannot be used; "" if it can.
        num_frames: Number of frames; see `reader.VideoFacts` for this and the following fields.
        fps: Frames per second.
        duration_sec: Seconds.
        height: Pixels.
        width: Pixels.
        codec: FFmpeg's name.
        container: FFmpeg's name.
        is_counted: Whether the frames had to be counted by decoding.
        is_unread: Whether the machine failed (disk, network, memory), so that nothing is known
            about the file.
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
    """Table of scanned files, stored by column."""

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
    # Increase the number whenever the same file would be described differently.
    kind: ClassVar[str] = "media 2"
