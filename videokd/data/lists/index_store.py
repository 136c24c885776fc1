"""On-disk store of indexes, including the results of a file scan."""

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videokd import __version__
from videokd.data.decode.container import VIDEO_EXTENSIONS
from videokd.data.lists.formats.path_list import CLASS_FILE
from videokd.data.lists.index import VideoIndex
from videokd.data.lists.records import KIND, RecordTable
from videokd.utils.errors import InputError
from videokd.utils.io import read_json, sha256_json, write_json

_NUM_NAMED = 5
_SPLITS_FILE = "splits.json"


def index_key(options: Mapping[str, Any], *, lists: Path | None) -> str:
    """Return a key of an index's inputs: the options of its reader and the state of its lists.

    Lists count as unchanged while they have the same size and modification time. The set of
    existing videos is not part of the key: an index records the videos that existed when it was
    made.

    Args:
        options: Plain JSON values.
        lists: Folder of the annotation lists or a single list, or None if there are none.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: the lists cannot be read.
    """
    try:
        stamps = [] if lists is None else sorted(_list_stamps(lists))
    except OSError as error:
        raise InputError(f"annotations {lists} cannot be read: {error.strerror}") from error
    return sha256_json([__version__, KIND, dict(options), stamps])


def _list_stamps(lists: Path) -> Iterable[tuple[str, int, int]]:
    if lists.is_dir():
        paths = list(lists.iterdir())
    else:
        class_file = lists.parent / CLASS_FILE
        paths = [lists, *([class_file] if class_file.exists() else [])]
    for path in paths:
        # The folder may also hold hundreds of thousands of videos.
        if path.suffix.lower() in VIDEO_EXTENSIONS or path.name.startswith("."):
            continue
        info = path.stat()
        if stat.S_ISREG(info.st_mode):
            yield path.name, info.st_size, info.st_mtime_ns


def save_indexes(folder: Path, indexes: Mapping[str, VideoIndex]) -> None:
    """Write the indexes of a dataset's splits into a folder, replacing the indexes in it.

    The root is not stored.
    """
    for split, index in indexes.items():
        about = {
            "class_names": list(index.class_names),
            "dataset": index.dataset,
            "split": index.split,
            "missing": list(index.missing),
            "mirror_labels": None if index.mirror_labels is None else list(index.mirror_labels),
        }
        RecordTable.from_records(index.records).save(folder / f"{split}.records", about=about)
    # Written last: a folder without this file is incomplete.
    write_json(folder / _SPLITS_FILE, list(indexes))


def open_indexes(folder: Path, *, root: Path) -> dict[str, VideoIndex]:
    """Memory-map the indexes that `save_indexes` wrote; return {} if there are none.

    No file of the dataset is opened.

    Args:
        folder: Folder that the indexes were written to.
        root: Folder that the paths of the records are relative to.

    Raises:
        InputError: an index is damaged.
    """
    if not (folder / _SPLITS_FILE).exists():
        return {}
    splits = read_json(folder / _SPLITS_FILE)
    return {split: _open_index(folder / f"{split}.records", root) for split in splits}


def _open_index(path: Path, root: Path) -> VideoIndex:
    records = RecordTable.open(path)
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
    """Return the videos that a scan found unusable, path -> cause."""
    records = index.records
    if isinstance(records, RecordTable):
        # Only videos without frames can be unusable.
        records = records.take(np.flatnonzero(records.numbers("num_frames") == 0))
    return {record.path: record.cause for record in records if record.cause}


def describe_unusable(index: VideoIndex) -> str:
    """Return a line about missing and unusable videos of an index; "" if there are none."""
    bad = list(find_bad_videos(index).items())
    lines = []
    if index.missing:
        lines.append(f"{len(index.missing)} are missing (first: {index.missing[0]})")
    if bad:
        named = "; ".join(f"{path}: {cause}" for path, cause in bad[:_NUM_NAMED])
        rest = f"; and {len(bad) - _NUM_NAMED} more" if len(bad) > _NUM_NAMED else ""
        lines.append(f"{len(bad)} cannot be used ({named}{rest})")
    num_listed = len(index) + len(index.missing)
    return f"of {num_listed} listed videos {' and '.join(lines)}" if lines else ""
