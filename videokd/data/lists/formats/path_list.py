"""Lists of paths and labels: formats of SlowFast, PyTorchVideo and MMAction2, and custom CSV.

Without a header, a row is `<path><separator><label>`, split at the last separator, so paths may
hold blanks; labels are 0-based numbers. Under a header `path,label[,split][,group]`, labels may
also be names. Lists of frame folders and of several labels per video are refused.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from videokd.data.lists.formats.finding import SPLIT_FOLDERS, FolderListing
from videokd.data.lists.formats.list_rows import ListTable, read_tables
from videokd.data.lists.formats.listing import (
    check_disjoint,
    check_spellings,
    check_unique,
    make_group_finder,
    normal_form,
    read_rows,
)
from videokd.data.lists.formats.spec import DatasetLists, DatasetSpec, ListedVideo
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

CLASS_FILE = "classes.txt"
_MAX_CLASSES = 100_000  # a larger label is a mistake; one name per class is kept in memory


def read_path_lists(spec: DatasetSpec, listing: FolderListing | None) -> DatasetLists:
    r"""Read a dataset given by lists of paths and labels.

    A val list without a test list is the test split.

    Args:
        spec: Description. Its annotations are a folder of the lists, or one CSV file with a column
            `split`. A `classes.txt` beside the lists names one class per line, in the order of the
            labels; without it, numeric labels are their own names. The group pattern, such as
            `(person\d+)_`, takes precedence over a column `group`; without both, the group is the
            file name up to its last underscore.
        listing: Listing of the root that relative paths start from and that contains absolute
            ones. If it has train/ and val/ (or videos_train/ and videos_val/), paths may be
            relative to those. Without it, paths are not resolved.

    Raises:
        InputError: a folder or list is missing, a row is malformed, has an unknown label, leaves
            the root, is listed twice or is in two splits.
    """
    annotations = spec.lists
    tables = _choose_tables(spec)
    folder = annotations.parent if annotations.is_file() else annotations
    class_names = _class_names(tables["train"], folder / CLASS_FILE)
    clean_path = _make_path_cleaner(None if listing is None else listing.root)
    listed: dict[str, list[ListedVideo]] = {}
    for split, table in tables.items():
        videos = _make_videos(table, class_names, spec.group_pattern, clean_path)
        listed[split] = videos if listing is None else _start_from_root(videos, listing, split)
        check_unique(listed[split], str(table.source))
    if "val" in listed and {v.path for v in listed["val"]} == {v.path for v in listed["test"]}:
        # SlowFast users copy val.csv to test.csv, since Kinetics has no other test labels.
        del listed["val"]
        _logger.warning(
            "%s: val and test list the same videos, so they are the test split only", annotations
        )
    check_disjoint(listed, sources={split: str(tables[split].source) for split in listed})
    _warn_of_empty_classes(listed["train"], class_names, str(tables["train"].source))
    return DatasetLists(class_names, listed, {split: tables[split].name for split in listed})


def _choose_tables(spec: DatasetSpec) -> dict[str, ListTable]:
    tables = read_tables(spec.lists, split_number=spec.split_number, separator=spec.separator)
    if "train" not in tables:
        raise InputError(f"{spec.lists} lists no training video")
    if "test" not in tables and "val" in tables:
        tables["test"] = tables.pop("val")
    for split, table in tables.items():
        if not table.rows:
            name = {"train": "training"}.get(split, split)
            raise InputError(f"{table.source} lists no {name} video; fill it or remove it")
    return tables


def _class_names(train: ListTable, class_file: Path) -> tuple[str, ...]:
    if class_file.exists():
        names = tuple(name for _, name in read_rows(class_file))
        check_spellings(names, str(class_file))
        if len(set(names)) < len(names):
            name = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{class_file}: class {name!r} is listed twice")
        return names
    labels = {row.label for row in train.rows}
    if not all(label.isdecimal() for label in labels):
        check_spellings(sorted(labels), str(train.source))
        return tuple(sorted(labels))
    largest = max(map(int, labels))
    if largest >= _MAX_CLASSES:
        row = next(row for row in train.rows if int(row.label) == largest)
        raise InputError(
            f"{train.source} row {row.number}: label {row.label} of {row.path}; labels count "
            f"from 0 and are below {_MAX_CLASSES}"
        )
    return tuple(str(label) for label in range(largest + 1))


def _make_videos(
    table: ListTable,
    class_names: Sequence[str],
    group_pattern: str,
    clean_path: Callable[[str], str],
) -> list[ListedVideo]:
    known = _label_table(class_names, has_names=table.has_header)
    find_group = make_group_finder(group_pattern)
    videos: list[ListedVideo] = []
    for number, listed_path, text, group in table.rows:
        label = known.get(text)
        if label is None:
            label = known.get(str(int(text)) if text.isdecimal() else normal_form(text))
            if label is None:
                raise InputError(
                    f"{table.source} row {number}: label {text!r} is not among the "
                    f"{len(class_names)} classes ({class_names[0]} .. {class_names[-1]})"
                )
            known[text] = label
        path = clean_path(listed_path)
        if not path:
            raise InputError(
                f"{table.source} row {number}: {listed_path!r} is not under the root; set the root "
                "to a folder above all videos"
            )
        # A configured pattern takes precedence over the column.
        group = group if group and not group_pattern else find_group(path)
        if not group:
            raise InputError(
                f"{table.source} row {number}: group pattern {group_pattern!r} is not in {path!r}"
            )
        videos.append(ListedVideo(path, label, group, number))
    return videos


def _label_table(class_names: Sequence[str], *, has_names: bool) -> dict[str, int]:
    table = {str(label): label for label in range(len(class_names))}
    if has_names:
        table.update({normal_form(name): label for label, name in enumerate(class_names)})
        table.update({name: label for label, name in enumerate(class_names)})
    return table


def _make_path_cleaner(root: Path | None) -> Callable[[str], str]:
    """Return a function from a listed path to the path under the root, "" if outside the root."""
    # Absolute paths may use the root's own name or the folder that it links to.
    own = (os.path.abspath(root), os.path.realpath(root)) if root is not None else ()
    prefixes = [f"{name.rstrip('/')}/" for name in own]

    def clean(path: str) -> str:
        if "//" in path or "./" in path or path.endswith("/.."):
            path = os.path.normpath(path)
        if path.startswith("../") or path == "..":
            return ""
        if not path.startswith("/") or root is None:
            return path
        return next((path[len(p) :] for p in prefixes if path.startswith(p)), "")

    return clean


def _start_from_root(
    videos: list[ListedVideo], listing: FolderListing, split: str
) -> list[ListedVideo]:
    # MMAction2's Kinetics lists are relative to videos_train/ and videos_val/.
    sample = videos[:: max(1, len(videos) // 50)]
    splits = ("test", "val") if split == "test" else (split,)
    for folder in ("", *(f"{name}/" for own in splits for name in SPLIT_FOLDERS[own])):
        if any(listing.has(f"{folder}{video.path}") for video in sample):
            if not folder:
                return videos
            return [ListedVideo(f"{folder}{v.path}", *v[1:]) for v in videos]
    return videos


def _warn_of_empty_classes(
    train: Sequence[ListedVideo], class_names: Sequence[str], source: str
) -> None:
    empty = sorted(set(range(len(class_names))) - {video.label for video in train})
    if empty:
        _logger.warning(
            "%s: %d of %d classes have no training video, e.g. %s%s",
            *(source, len(empty), len(class_names), class_names[empty[0]]),
            "; labels count from 0" if empty[0] == 0 else "",
        )
