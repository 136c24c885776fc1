"""The records of a dataset, one by one and as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from videokd.data.column_table import ColumnTable


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One labelled video.

    Args:
        path: File, relative to the root of its index, with forward slashes.
        label: Class id, 0 .. num_classes - 1.
        dataset: Name of the dataset, e.g. "ucf101".
        group: Source of the video (scene, film, upload). Videos of one class and group are near
            copies of each other and must stay on one side of a split.
        num_frames: Frames that were found in the file when it was scanned; 0 when it was not.
        fps: Their average rate, frames per second; 0.0 when it is not known.
        cause: Why the file could not be read when it was scanned; "" when it could, or was not.
    """

    path: str
    label: int
    dataset: str
    group: str
    num_frames: int = 0
    fps: float = 0.0
    cause: str = ""


class RecordTable(ColumnTable[VideoRecord]):
    """Records kept by column."""

    row_type: ClassVar[type[VideoRecord]] = VideoRecord
    layout: ClassVar[Mapping[str, str]] = {
        "path": "text",
        "label": "int32",
        "dataset": "name",
        "group": "name",
        "num_frames": "int32",
        "fps": "float64",
        "cause": "name",
    }
    kind: ClassVar[str] = "records 1"
