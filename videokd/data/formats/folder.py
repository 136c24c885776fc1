"""One's own videos: `root/{train,test}/<class>/*` or `root/<class>/*`, classes sorted by name."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from videokd.data.formats.finding import finish_index
from videokd.data.formats.listing import (
    SUBSETS,
    VIDEO_EXTENSIONS,
    check_folder,
    check_spellings,
    check_subset,
    make_group_finder,
    warn_of_shared_groups,
)
from videokd.data.index import VideoIndex, VideoRecord, hold_out_groups
from videokd.data.source import check_folder_inside
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)


def read_folder(
    root: Path,
    *,
    subset: str,
    dataset: str = "folder",
    group_pattern: str = "",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> VideoIndex:
    r"""Read a dataset whose folders are its labels.

    With root/train and root/test (or root/val) each part is a folder. Otherwise the classes lie
    directly under root and a test part is drawn from them by whole groups.

    Args:
        root: Folder of the dataset.
        subset: "train" or "test".
        dataset: Name given to the records.
        group_pattern: Regular expression of a video's group in its path under root, such as
            `(person\d+)_`; "" takes the name of the file up to its last underscore.
        test_fraction: Share of each class to draw for testing, inside (0, 1); read only when the
            layout has no parts of its own.
        seed: Seed of that draw.

    Raises:
        InputError: root is missing, a folder leads out of it, class names collide, a test class is
            not in train, a video is in both parts (under one name and of one size), the pattern
            does not fit, or there is no video.
    """
    check_subset(subset)
    check_folder(root, f"{dataset}: root")
    find_group = make_group_finder(group_pattern)
    if not (root / "train").is_dir():
        index = _read_part(root, "", _class_folders(root, ""), dataset, find_group)
        train, test = hold_out_groups(index, fraction=test_fraction, seed=seed)
        if not test.records:
            raise InputError(
                f"{root}: no test part can be drawn, since each class has a single group of videos "
                f"(e.g. {index.records[0].group!r}); set a group pattern, or make train/ and test/"
            )
        return finish_index(train if subset == "train" else test)
    train = _read_part(root, "train", _class_folders(root, "train"), dataset, find_group)
    if subset == "train":
        return train
    part = "test" if (root / "test").is_dir() else "val"
    check_folder(root / part, f"{dataset}: test part")
    unknown = sorted(set(_class_folders(root, part)) - set(train.class_names))
    if unknown:
        raise InputError(
            f"{root / part}: class {unknown[0]!r} is not in {root / 'train'}; "
            f"known are {', '.join(train.class_names)}"
        )
    test = _read_part(root, part, train.class_names, dataset, find_group)
    _check_disjoint(train, test)
    return test


def count_folder(root: Path, group_pattern: str = "") -> dict[str, int]:
    """Count the videos: keys "train", "test", "classes"."""
    train, test = (read_folder(root, subset=s, group_pattern=group_pattern) for s in SUBSETS)
    return {"train": len(train), "test": len(test), "classes": train.num_classes}


def _class_folders(root: Path, part: str) -> tuple[str, ...]:
    check_folder_inside(root, part)
    folder = root / part
    names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != ".")
    check_spellings(names, str(folder))
    return tuple(names)


def _read_part(
    root: Path,
    part: str,
    class_names: tuple[str, ...],
    dataset: str,
    find_group: Callable[[str], str],
) -> VideoIndex:
    records: list[VideoRecord] = []
    for label, class_name in enumerate(class_names):
        relative = f"{part}/{class_name}" if part else class_name
        folder = root / relative
        check_folder_inside(root, relative)
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        videos = [n for n in names if n.lower().endswith(VIDEO_EXTENSIONS) and n[0] != "."]
        if not videos:
            _logger.warning("%s: class %r has no video in %s", dataset, class_name, folder)
        for name in videos:
            path = f"{relative}/{name}"
            group = find_group(path)
            if not group:
                raise InputError(f"{folder / name}: the group pattern is not in {path!r}")
            records.append(VideoRecord(path, label, dataset, group))
    return finish_index(VideoIndex(tuple(records), class_names, root, dataset, part or "all"))


def _check_disjoint(train: VideoIndex, test: VideoIndex) -> None:
    in_train, in_test = (
        {r.path.partition("/")[2]: part.root / r.path for r in part.records}
        for part in (train, test)
    )
    # Equal names alone are common (001.mp4). What was copied under another name is found by its
    # content, which no list reader opens.
    for name in sorted(in_train.keys() & in_test.keys()):
        if in_train[name].stat().st_size == in_test[name].stat().st_size:
            raise InputError(
                f"{in_train[name]} and {in_test[name]} are one video by name and size; remove it "
                "from one part"
            )
    warn_of_shared_groups(
        {(r.label, r.group) for r in train.records} & {(r.label, r.group) for r in test.records},
        source=str(train.root),
    )
