"""UCF101: `<Class>/v_<Class>_gNN_cNN.avi` with classInd.txt and three train/test lists.

Labels are 1-based in the lists and 0-based here. Labels come from the folder, never from the file
name, since the files of HandstandPushups are called HandStandPushups.
"""

import re
from pathlib import Path

from videokd.data.lists.formats.finding import FolderListing
from videokd.data.lists.formats.listing import (
    check_disjoint,
    check_folder,
    check_split_number,
    check_unique,
    read_rows,
)
from videokd.data.lists.formats.spec import DatasetLists, DatasetSpec, ListedVideo
from videokd.utils.errors import InputError

_GROUP = re.compile(r"_(g\d+)_c\d+$")


def read_ucf101_lists(spec: DatasetSpec, listing: FolderListing | None) -> DatasetLists:
    """Read one split of UCF101 or of a dataset in its layout.

    Args:
        spec: Description; its annotations are a folder with classInd.txt, trainlistNN.txt and
            testlistNN.txt.
        listing: Not used.

    Raises:
        InputError: a folder or list is missing, a row is malformed, names an unknown class, is
            listed twice or is in train and test.
    """
    check_folder(spec.lists, "UCF101 annotations")
    check_split_number(spec, "UCF101")
    class_names = _read_classes(spec.lists / "classInd.txt")
    labels = {name: label for label, name in enumerate(class_names)}
    paths = {s: spec.lists / f"{s}list{spec.split_number:02d}.txt" for s in ("train", "test")}
    videos: dict[str, list[ListedVideo]] = {}
    for split, path in paths.items():
        videos[split] = [_parse_row(path, n, text, labels, split) for n, text in read_rows(path)]
        check_unique(videos[split], str(path))
    check_disjoint(videos, sources={split: str(path) for split, path in paths.items()})
    names = {split: f"split{spec.split_number}/{split}" for split in videos}
    all_paths = {video.path for own in videos.values() for video in own}
    return DatasetLists(class_names, videos, names, all_paths)


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


def _parse_row(path: Path, row: int, text: str, labels: dict[str, int], split: str) -> ListedVideo:
    fields = text.rsplit(None, 1)
    has_label = len(fields) == 2 and fields[1].isdecimal()
    # UCF101's test lists have no labels, but some copies of them do.
    if split == "train" and not has_label:
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
