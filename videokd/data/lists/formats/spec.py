"""Description of a dataset, and its annotation lists after reading."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

AUTO_SEPARATOR = "auto"


@dataclass(frozen=True)
class DatasetSpec:
    """Location and reading options of a dataset.

    Args:
        format: A key of ``read.FORMATS``.
        root: Folder of the videos; None if only lists are counted.
        annotations: Folder (or file) of the lists; None for formats without lists.
        split_number: 1, 2 or 3: the official train/test split; 1 for formats with only one.
        separator: Separator of path and label in list files; "auto" takes the last comma or blank.
        group_pattern: Regular expression that finds a video's group in its path; "" for the
            format's default.
        flip: "auto", "keep", "swap" or "off", see `resolve_mirror_labels`.
        left_right_pairs: Pairs of class names that mirroring exchanges; () for the format's
            default.
    """

    format: str
    root: Path | None = None
    annotations: Path | None = None
    split_number: int = 1
    separator: str = AUTO_SEPARATOR
    group_pattern: str = ""
    flip: str = "auto"
    left_right_pairs: tuple[tuple[str, str], ...] = ()

    @property
    def lists(self) -> Path:
        """The annotations of a format with lists; `read.find_dataset` checks that they are set."""
        assert self.annotations is not None
        return self.annotations


class ListedVideo(NamedTuple):
    """One row of a list; its file may not exist.

    Args:
        path: Path or name in the list, relative to the root, with forward slashes.
        label: Class id, 0-based.
        group: Source of the video.
        row: Row number in the list, from 1; for messages.
    """

    path: str
    label: int
    group: str
    row: int


@dataclass(frozen=True)
class DatasetLists:
    """Annotation lists of a dataset, checked among themselves. No file was looked for.

    Args:
        class_names: Name of class k at position k.
        videos: Split ("train", "val", "test") -> its videos, for each split with a list.
        names: Split -> name of its list, for messages and reports.
        all_paths: All paths of the dataset, in any split or in none, for a search under other
            spellings of the names; () rules out such a search.
    """

    class_names: tuple[str, ...]
    videos: Mapping[str, Sequence[ListedVideo]]
    names: Mapping[str, str]
    all_paths: Collection[str] = ()
