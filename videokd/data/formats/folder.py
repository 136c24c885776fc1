"""One's own videos: `root/{train,test}/<class>/*` or `root/<class>/*`, classes sorted by name."""

import logging
import os
from pathlib import Path

from videokd.data.formats.listing import (
    VIDEO_EXTENSIONS,
    check_folder,
    check_subset,
    finish_index,
    normal_form,
)
from videokd.data.index import VideoIndex, VideoRecord, hold_out_groups
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)


def read_folder(
    root: Path,
    *,
    subset: str,
    dataset: str = "folder",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> VideoIndex:
    """Read a dataset whose folders are its labels.

    With root/train and root/test (or root/val) each part is a folder. Otherwise the classes lie
    directly under root and a test part is drawn from them by whole groups, where the group of a
    video is its name up to the last underscore.

    Args:
        root: Folder of the dataset.
        subset: "train" or "test".
        dataset: Name given to the records.
        test_fraction: Share of each class to draw for testing, inside (0, 1); read only when the
            layout has no parts of its own.
        seed: Seed of that draw.

    Raises:
        InputError: root is missing, class names collide, a test class is not in train, or there
            is no video.
    """
    check_subset(subset)
    check_folder(root, f"{dataset}: root")
    if not (root / "train").is_dir():
        index = _read_part(root, "", _class_folders(root), dataset)
        train, test = hold_out_groups(index, fraction=test_fraction, seed=seed)
        return finish_index(train if subset == "train" else test)
    class_names = _class_folders(root / "train")
    if subset == "train":
        return _read_part(root, "train", class_names, dataset)
    part = "test" if (root / "test").is_dir() else "val"
    check_folder(root / part, f"{dataset}: test part")
    unknown = sorted(set(_class_folders(root / part)) - set(class_names))
    if unknown:
        raise InputError(
            f"{root / part}: class {unknown[0]!r} is not in {root / 'train'}; "
            f"known are {', '.join(class_names)}"
        )
    return _read_part(root, part, class_names, dataset)


def _class_folders(folder: Path) -> tuple[str, ...]:
    names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != ".")
    spelled: dict[str, str] = {}
    for name in names:
        other = spelled.setdefault(normal_form(name), name)
        if other != name:
            raise InputError(f"{folder}: classes {other!r} and {name!r} differ only in spelling")
    return tuple(names)


def _read_part(root: Path, part: str, class_names: tuple[str, ...], dataset: str) -> VideoIndex:
    records: list[VideoRecord] = []
    for label, class_name in enumerate(class_names):
        relative = f"{part}/{class_name}" if part else class_name
        folder = root / relative
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        videos = [n for n in names if n.lower().endswith(VIDEO_EXTENSIONS) and n[0] != "."]
        if not videos:
            _logger.warning("%s: class %r has no video in %s", dataset, class_name, folder)
        for name in videos:
            records.append(VideoRecord(f"{relative}/{name}", label, dataset, _group_of(name)))
    return finish_index(VideoIndex(tuple(records), class_names, root, dataset, part or "all"))


def _group_of(file_name: str) -> str:
    stem = file_name.rpartition(".")[0]
    return stem.rpartition("_")[0] or stem
