"""Records of a dataset, and a table of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from videokd.data.lists.column_table import ColumnTable


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One labelled video.

    Args:
        path: File, relative to the root of its index, with forward slashes.
        label: Class id, 0 .. num_classes - 1.
        dataset: Name of the dataset, e.g. "ucf101".
        group: Source of the video (scene, film, upload). Videos of one class and group are near
            copies of each other and must stay on one side of a split.
        num_frames: Number of frames found in the file by a scan; 0 if it was not scanned or has
            none.
        fps: Average frames per second found by a scan; 0.0 if unknown.
        cause: Reason why a scan could not read the file; "" if it could, or there was no scan.
    """

    path: str
    label: int
    dataset: str
    group: str
    num_frames: int = 0
    fps: float = 0.0
    cause: str = ""


class RecordTable(ColumnTable[VideoRecord]):
    """Table of records, stored by column."""

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
