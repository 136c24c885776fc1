"""UCF101: `<Class>/v_<Class>_gNN_cNN.avi` with classInd.txt and three train/test lists.

Labels are 1-based in the lists and 0-based here. Labels come from the folder, never from the file
name, since the files of HandstandPushups are called HandStandPushups.
"""

import re
from pathlib import Path

from videokd.data.lists.formats.finding import FolderListing, build_indexes
from videokd.data.lists.formats.listing import (
    ListedVideo,
    check_disjoint,
    check_folder,
    check_unique,
    read_rows,
)
from videokd.data.lists.index import VideoIndex
from videokd.utils.errors import InputError

_GROUP = re.compile(r"_(g\d+)_c\d+$")


def read_ucf101(
    root: Path, *, annotations: Path, split: int, dataset: str = "ucf101"
) -> dict[str, VideoIndex]:
    """Read one split of UCF101 or of a dataset in its layout.

    Args:
        root: Folder that holds one folder per class.
        annotations: Folder with classInd.txt, trainlistNN.txt and testlistNN.txt.
        split: 1, 2 or 3.
        dataset: Name given to the records.

    Returns:
        Part ("train", "test") -> its index.

    Raises:
        InputError: a folder or list is missing, a row is malformed, names an unknown class, is
            listed twice or is in train and test, or none of the videos exist.
    """
    class_names, parts = _read_lists(annotations, split)
    return build_indexes(
        parts,
        listing=FolderListing(root),
        class_names=class_names,
        dataset=dataset,
        splits={part: f"split{split}/{part}" for part in parts},
        all_listed={video.path for part in parts.values() for video in part},
    )


def count_ucf101(annotations: Path, split: int) -> dict[str, int]:
    """Count the listed videos of a split: keys "train", "test", "classes". Needs no videos."""
    class_names, parts = _read_lists(annotations, split)
    return {
        "train": len(parts["train"]),
        "test": len(parts["test"]),
        "classes": len(class_names),
    }


def _read_lists(
    annotations: Path, split: int
) -> tuple[tuple[str, ...], dict[str, list[ListedVideo]]]:
    check_folder(annotations, "UCF101 annotations")
    if split not in (1, 2, 3):
        raise InputError(f"UCF101 split must be 1, 2 or 3, got {split}")
    class_names = _read_classes(annotations / "classInd.txt")
    labels = {name: label for label, name in enumerate(class_names)}
    paths = {s: annotations / f"{s}list{split:02d}.txt" for s in ("train", "test")}
    parts: dict[str, list[ListedVideo]] = {}
    for subset, path in paths.items():
        parts[subset] = [_parse_row(path, n, text, labels, subset) for n, text in read_rows(path)]
        check_unique(parts[subset], str(path))
    check_disjoint(parts, sources={part: str(path) for part, path in paths.items()})
    return class_names, parts


def _read_classes(path: Path) -> tuple[str, ...]:
    names: list[str] = []
    for row, text in read_rows(path):
        fields = text.split(None, 1)
        if len(fields) != 2 or fields[0] != str(len(names) + 1) or fields[1] in names:
            raise InputError(
                f"{path} row {row}: {text!r} must be '{len(names) + 1} <class name>' "
                "with a name that is new"
            )
        names.append(fields[1])
    return tuple(names)


def _parse_row(path: Path, row: int, text: str, labels: dict[str, int], subset: str) -> ListedVideo:
    fields = text.rsplit(None, 1)
    has_label = len(fields) == 2 and fields[1].isdecimal()
    # UCF101's test lists have no labels, but some copies of them do.
    if subset == "train" and not has_label:
        raise InputError(f"{path} row {row}: {text!r} must be '<class>/<file> <label>'")
    video = fields[0] if has_label else text
    folder, _, name = video.partition("/")
    if not folder or not name or "/" in name or ".." in (folder, name):
        raise InputError(f"{path} row {row}: {text!r} must name a video as '<class>/<file>'")
    if folder not in labels:
        raise InputError(f"{path} row {row}: class {folder!r} is not in classInd.txt")
    label = labels[folder]
    if has_label and int(fields[1]) != label + 1:
        raise InputError(
            f"{path} row {row}: label {fields[1]} but {folder!r} has {label + 1} in classInd.txt "
            f"(allowed are 1 .. {len(labels)})"
        )
    stem = name.rpartition(".")[0] or name
    match = _GROUP.search(stem)
    return ListedVideo(video, label, match.group(1) if match else stem, row)
