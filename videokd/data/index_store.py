"""Indexes that are kept on disk, with what a scan has found in their files."""

import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from videokd import __version__
from videokd.data.file_names import VIDEO_EXTENSIONS
from videokd.data.formats.path_list import CLASS_FILE
from videokd.data.index import RecordTable, VideoIndex
from videokd.data.media import MediaInfo
from videokd.utils.errors import InputError
from videokd.utils.io import read_json, sha256_json, write_json

_NUM_NAMED = 5
_PARTS_FILE = "parts.json"


def index_key(options: Mapping[str, Any], *, lists: Path | None) -> str:
    """Name what an index is read from: the options of its reader, and the state of its lists.

    Lists count as unchanged while they have the same size and time of modification. Which videos
    exist does not enter: an index says what was there when it was made.

    Args:
        options: Plain JSON values.
        lists: Folder of the annotation lists or a single list, or None where there are none.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: the lists cannot be looked at.
    """
    try:
        stamps = [] if lists is None else sorted(_list_stamps(lists))
    except OSError as error:
        raise InputError(f"annotations {lists} cannot be read: {error.strerror}") from error
    return sha256_json([__version__, dict(options), stamps])


def _list_stamps(lists: Path) -> Iterable[tuple[str, int, int]]:
    if lists.is_dir():
        paths = list(lists.iterdir())
    else:
        class_file = lists.parent / CLASS_FILE
        paths = [lists, *([class_file] if class_file.exists() else [])]
    for path in paths:
        # Videos may lie in the same folder, hundreds of thousands of them.
        if path.suffix.lower() in VIDEO_EXTENSIONS or path.name.startswith("."):
            continue
        info = path.stat()
        if stat.S_ISREG(info.st_mode):
            yield path.name, info.st_size, info.st_mtime_ns


def add_media(index: VideoIndex, files: Iterable[MediaInfo]) -> VideoIndex:
    """Return the index with what was found in its files.

    Args:
        index: The index.
        files: One for each of its records, in any order; there may be more.
    """
    found = {info.path: info for info in files}
    records = []
    for record in index.records:
        info = found[record.path]
        # Trainings try a file themselves that the system could not read.
        cause = "" if info.is_unread else info.cause
        records.append(replace(record, num_frames=info.num_frames, fps=info.fps, cause=cause))
    return replace(index, records=RecordTable.from_rows(records))


def save_indexes(folder: Path, indexes: Mapping[str, VideoIndex]) -> None:
    """Write the indexes of a dataset's parts, in place of those that a folder held.

    The root is not kept.
    """
    for part, index in indexes.items():
        about = {
            "class_names": list(index.class_names),
            "dataset": index.dataset,
            "split": index.split,
            "missing": list(index.missing),
            "mirror_labels": None if index.mirror_labels is None else list(index.mirror_labels),
        }
        RecordTable.from_rows(index.records).save(folder / part, about=about)
    # Last: a folder without it is not finished.
    write_json(folder / _PARTS_FILE, list(indexes))


def open_indexes(folder: Path, *, root: Path) -> dict[str, VideoIndex]:
    """Map the indexes that `save_indexes` wrote; {} when there are none.

    No file of the dataset is opened.

    Args:
        folder: Where they were written.
        root: Folder that the paths of the records start from.

    Raises:
        InputError: one is damaged.
    """
    if not (folder / _PARTS_FILE).exists():
        return {}
    return {part: _open_index(folder / part, root) for part in read_json(folder / _PARTS_FILE)}


def _open_index(folder: Path, root: Path) -> VideoIndex:
    records = RecordTable.open(folder)
    about = records.about
    mirror_labels = about["mirror_labels"]
    return VideoIndex(
        records,
        class_names=tuple(about["class_names"]),
        root=root,
        dataset=about["dataset"],
        split=about["split"],
        missing=tuple(about["missing"]),
        mirror_labels=None if mirror_labels is None else tuple(mirror_labels),
    )


def find_bad_videos(index: VideoIndex) -> dict[str, str]:
    """Return the causes by path of the videos that a scan found to be unusable."""
    records = index.records
    if isinstance(records, RecordTable):
        # A video that can be used has frames.
        records = records.take(np.flatnonzero(records.numbers("num_frames") == 0))
    return {record.path: record.cause for record in records if record.cause}


def describe_unusable(index: VideoIndex) -> str:
    """Say in one line what of an index is missing or cannot be used; "" when that is nothing."""
    bad = list(find_bad_videos(index).items())
    parts = []
    if index.missing:
        parts.append(f"{len(index.missing)} are missing (first: {index.missing[0]})")
    if bad:
        named = "; ".join(f"{path}: {cause}" for path, cause in bad[:_NUM_NAMED])
        rest = f"; and {len(bad) - _NUM_NAMED} more" if len(bad) > _NUM_NAMED else ""
        parts.append(f"{len(bad)} cannot be used ({named}{rest})")
    num_listed = len(index) + len(index.missing)
    return f"of {num_listed} listed videos {' and '.join(parts)}" if parts else ""
