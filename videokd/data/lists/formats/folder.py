"""Videos in class folders: `root/{train,val,test}/<class>/*` or `root/<class>/*`."""

import logging
import os
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

from videokd.data.decode.source import check_folder_inside
from videokd.data.lists.formats.finding import (
    SPLIT_FOLDERS,
    describe_other_files,
    finish_index,
    is_video_name,
)
from videokd.data.lists.formats.listing import (
    check_spellings,
    make_group_finder,
    warn_of_shared_groups,
)
from videokd.data.lists.index import VideoIndex, VideoRecord, hold_out_groups
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

# Share of each class that is drawn for testing if there are no folders of the splits.
_TEST_FRACTION = 0.2


def read_folders(root: Path, *, dataset: str, group_pattern: str) -> dict[str, VideoIndex]:
    r"""Read a dataset whose folder names are its classes.

    If there is root/train, and root/test or root/val or both, each split is a folder. Otherwise the
    class folders are directly under root, and a test split is drawn from them by whole groups.

    Args:
        root: Folder of the dataset.
        dataset: Name given to the records.
        group_pattern: Regular expression that finds a video's group in its path under root, such as
            `(person\d+)_`; "" takes the file name up to its last underscore.

    Returns:
        Split ("train", "val", "test") -> its index, for each existing folder. A val folder without
        a test folder is the test split.

    Raises:
        InputError: root is missing, a folder leads out of it, class names collide, a test class is
            not in train, a video is in two splits (same name and size), the pattern does not fit,
            or there is no video.
    """
    folders = _find_splits(root)
    reader = _FolderReader(root, dataset, make_group_finder(group_pattern))
    if not folders:
        whole = reader.read("", reader.list_classes(""))
        reader.warn()
        train, test = hold_out_groups(whole, fraction=_TEST_FRACTION, seed=0)
        if not test.records:
            raise InputError(
                f"{root}: no test split can be drawn, since each class has a single group of "
                f"videos (e.g. {whole.records[0].group!r}); set a group pattern, or make train/ "
                "and test/"
            )
        return {"train": train, "test": test}
    class_names = reader.list_classes(folders["train"])
    for folder in folders.values():
        unknown = sorted(set(reader.list_classes(folder)) - set(class_names))
        if unknown:
            raise InputError(
                f"{root / folder}: class {unknown[0]!r} is not in {root / folders['train']}; "
                f"known are {', '.join(class_names)}"
            )
    beside = _list_folders(root) - set(folders.values())
    reader.others += [f"{name}/" for name in sorted(beside)]
    splits = {split: reader.read(folder, class_names) for split, folder in folders.items()}
    reader.warn()
    _check_disjoint(splits)
    return splits


def _find_splits(root: Path) -> dict[str, str]:
    """Return split ("train", "val", "test") -> folder; {} if class folders are directly in root."""
    folders: dict[str, str] = {}
    for split, names in SPLIT_FOLDERS.items():
        found = [name for name in names if (root / name).is_dir()]
        if split == "train" and not (found and _holds_classes(root / found[0])):
            return {}
        if len(found) > 1:
            raise InputError(
                f"{root / found[0]} and {found[1]}/ may both be the {split} split; keep one there"
            )
        if found:
            folders[split] = found[0]
    if "test" not in folders and "val" in folders:
        folders["test"] = folders.pop("val")
    return folders


def _holds_classes(folder: Path) -> bool:
    """Return whether a folder called `train` is a split, rather than a class of that name."""
    with os.scandir(folder) as entries:
        has_folder, videos = False, []
        for entry in entries:
            is_folder = _is_folder(entry)
            has_folder |= is_folder and entry.name[0] != "."
            if not is_folder and is_video_name(entry.name):
                videos.append(entry.name)
    if has_folder and videos:
        raise InputError(
            f"{folder} holds videos and folders (e.g. {min(videos)}): move the videos into folders "
            "of classes, or the folders away when its name is that of a class"
        )
    return has_folder


def _list_folders(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {e.name for e in entries if _is_folder(e) and e.name[0] != "."}


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    # DirEntry.is_dir alone raises for a link to itself.
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry))


class _FolderReader:
    """Reader of the splits of one root, which collects skipped items for one warning each.

    Args:
        root: Folder of the dataset.
        dataset: Name given to the records.
        find_group: Function from `make_group_finder`.
    """

    def __init__(self, root: Path, dataset: str, find_group: Callable[[str], str]) -> None:
        self._root = root
        self._dataset = dataset
        self._find_group = find_group
        self._empty: list[str] = []
        self.others: list[str] = []
        """Files and folders (with "/") under root that are not read."""

    def list_classes(self, folder: str) -> tuple[str, ...]:
        check_folder_inside(self._root, folder)
        names = sorted(_list_folders(self._root / folder))
        check_spellings(names, str(self._root / folder))
        return tuple(names)

    def read(self, split: str, class_names: tuple[str, ...]) -> VideoIndex:
        records: list[VideoRecord] = []
        missing: list[str] = []
        with os.scandir(self._root / split) as entries:
            loose = sorted(e.name for e in entries if is_video_name(e.name) and not _is_folder(e))
        self.others += [f"{split}/{name}" if split else name for name in loose]
        for label, class_name in enumerate(class_names):
            folder = f"{split}/{class_name}" if split else class_name
            names = self._list_videos(folder, missing)
            if not names:
                self._empty.append(folder)
            for path in names:
                group = self._find_group(path)
                if not group:
                    raise InputError(
                        f"{self._root / path}: the group pattern is not in {path!r}; change "
                        "GROUP_PATTERN"
                    )
                records.append(VideoRecord(path, label, self._dataset, group))
        name = f"{split}/" if split else "class folders"
        if not records and not missing:
            raise InputError(
                f"{self._dataset}: no video in the class folders of {self._root / split}; the "
                f"layout is <class>/<video> or train/<class>/<video>{self._describe_others()}"
            )
        place = (class_names, self._root, self._dataset, name)
        return finish_index(VideoIndex(tuple(records), *place, tuple(missing)))

    def warn(self) -> None:
        if self._empty:
            _logger.warning(
                "%s: %d class folders have no video, e.g. %s",
                *(self._dataset, len(self._empty), self._root / self._empty[0]),
            )
        if self.others:
            _logger.warning("%s%s", self._dataset, self._describe_others())

    def _describe_others(self) -> str:
        return f": files left out: {describe_other_files(self.others)}" if self.others else ""

    def _list_videos(self, folder: str, missing: list[str]) -> list[str]:
        check_folder_inside(self._root, folder)
        if not (self._root / folder).is_dir():
            return []
        videos: list[str] = []
        with os.scandir(self._root / folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = f"{folder}/{entry.name}"
                if _is_folder(entry):
                    self.others.append(f"{path}/")
                elif is_video_name(entry.name):
                    # Dangling links, such as DVC or git-annex files that were not fetched, count as
                    # missing.
                    is_there = not entry.is_symlink() or os.path.exists(entry)
                    (videos if is_there else missing).append(path)
                elif entry.name[0] != ".":
                    self.others.append(path)
        return videos


def _check_disjoint(splits: dict[str, VideoIndex]) -> None:
    files = {
        split: {r.path.partition("/")[2]: index.root / r.path for r in index.records}
        for split, index in splits.items()
    }
    # Equal names alone are common (001.mp4), so sizes are compared too. Copies under another name
    # can only be found by content, which list readers do not open.
    for first, second in combinations(files.values(), 2):
        for name in sorted(first.keys() & second.keys()):
            if first[name].stat().st_size == second[name].stat().st_size:
                raise InputError(
                    f"{first[name]} and {second[name]} are one video by name and size; remove it "
                    "from one split"
                )
    warn_of_shared_groups(
        {split: {(r.label, r.group) for r in index.records} for split, index in splits.items()},
        source=str(splits["train"].root),
    )
