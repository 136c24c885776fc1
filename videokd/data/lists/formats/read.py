"""Reading of datasets: table of the formats, and functions to read and count a dataset."""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from videokd.data.lists.formats.finding import (
    FolderListing,
    build_indexes,
    check_links,
    find_listed,
)
from videokd.data.lists.formats.folder import read_folders
from videokd.data.lists.formats.hmdb51 import read_hmdb51_lists
from videokd.data.lists.formats.kinetics import find_kinetics_files, read_kinetics_lists
from videokd.data.lists.formats.listing import check_folder
from videokd.data.lists.formats.mirror import resolve_mirror_labels, warn_of_likely_pair
from videokd.data.lists.formats.path_list import read_path_lists
from videokd.data.lists.formats.spec import DatasetLists, DatasetSpec
from videokd.data.lists.formats.ssv2 import (
    SSV2_LEFT_RIGHT_PAIRS,
    find_ssv2_files,
    read_ssv2_lists,
)
from videokd.data.lists.formats.ucf101 import read_ucf101_lists
from videokd.data.lists.index import VideoIndex
from videokd.utils.errors import InputError

ReadLists = Callable[[DatasetSpec, FolderListing | None], DatasetLists]
FindFiles = Callable[[FolderListing, DatasetLists, str], Mapping[str, Mapping[str, str]]]


@dataclass(frozen=True)
class Format:
    """A dataset format.

    Args:
        options: Fields of a DatasetSpec that it uses.
        splits_from: Description of where its splits come from, for messages.
        read_lists: (spec, listing of the root or None) -> annotation lists; None for the format
            whose labels are folders, see `read_folders`.
        find_files: (listing of the root, lists, name of the dataset) -> split -> listed path ->
            path of the existing file under the root.
        left_right_pairs: Pairs of its classes that mirroring exchanges.
    """

    options: tuple[str, ...]
    splits_from: str
    read_lists: ReadLists | None = None
    find_files: FindFiles = find_listed
    left_right_pairs: tuple[tuple[str, str], ...] = ()

    @property
    def needs_annotations(self) -> bool:
        """Whether labels are read from lists."""
        return self.read_lists is not None


_OFFICIAL_LISTS = "the lists of train and test"
FORMATS: Mapping[str, Format] = {
    "ucf101": Format(("annotations", "split_number"), _OFFICIAL_LISTS, read_ucf101_lists),
    "hmdb51": Format(("annotations", "split_number"), _OFFICIAL_LISTS, read_hmdb51_lists),
    "kinetics": Format(
        ("annotations",),
        "train.csv, and val.csv or validate.csv for test; its test lists have no labels",
        read_kinetics_lists,
        find_kinetics_files,
    ),
    "ssv2": Format(
        ("annotations",),
        _OFFICIAL_LISTS,
        read_ssv2_lists,
        find_ssv2_files,
        SSV2_LEFT_RIGHT_PAIRS,
    ),
    "list": Format(
        ("annotations", "split_number", "separator", "group_pattern"),
        "train.csv, test.csv and val.csv, or rows of one file by its column split",
        read_path_lists,
    ),
    "folder": Format(("group_pattern",), "the folders train/, test/ and val/"),
}


def read_dataset(spec: DatasetSpec, *, name: str) -> dict[str, VideoIndex]:
    """Read a dataset of any format.

    Args:
        spec: Location and options of the dataset.
        name: Name given to the records.

    Returns:
        Split -> its index: "train" and "test", and "val" if the dataset has its own.

    Raises:
        InputError: the format's reader refuses it, a folder is not given, a split is absent, or an
            option is set that the format does not use.
    """
    indexes = find_dataset(spec, name=name)
    own = FORMATS[spec.format]
    absent = [split for split in ("train", "test") if split not in indexes]
    if absent:
        raise InputError(
            f"{name}: {spec.annotations or spec.root} has no {absent[0]} split; splits come from "
            f"{own.splits_from}"
        )
    class_names = indexes["train"].class_names
    if spec.flip == "auto" and not (spec.left_right_pairs or own.left_right_pairs):
        warn_of_likely_pair(class_names, name)
    mirror_labels = resolve_mirror_labels(
        class_names,
        flip=spec.flip,
        pairs=spec.left_right_pairs,
        known_pairs=own.left_right_pairs,
        dataset=name,
    )
    return {split: replace(index, mirror_labels=mirror_labels) for split, index in indexes.items()}


def find_dataset(spec: DatasetSpec, *, name: str) -> dict[str, VideoIndex]:
    """Read all splits that a dataset of any format has, even only one; see `read_dataset`."""
    own = _check_options(spec, name)
    if spec.root is None:
        raise InputError(f"{name}: root is empty; set it to the folder of the videos")
    check_folder(spec.root, f"{name}: root")
    with _paused_collector():
        if own.read_lists is None:
            indexes = read_folders(spec.root, dataset=name, group_pattern=spec.group_pattern)
        else:
            listing = FolderListing(spec.root)
            lists = own.read_lists(spec, listing)
            files = own.find_files(listing, lists, name)
            indexes = build_indexes(lists, files, root=spec.root, dataset=name)
    check_links(indexes)
    return indexes


def count_dataset(spec: DatasetSpec) -> dict[str, int]:
    """Count the listed videos: keys "train", "val", "test" and "classes".

    Videos are needed only for the format without lists. Absent lists have no key, and neither has
    "val" if validation is held out of train.

    Raises:
        InputError: same as for `read_dataset`.
    """
    own = _check_options(spec, spec.format)
    if own.read_lists is not None:
        lists = own.read_lists(spec, None)
        counts = {split: len(videos) for split, videos in lists.videos.items()}
        return {**counts, "classes": len(lists.class_names)}
    if spec.root is None:
        raise InputError(f"{spec.format}: root is empty; this format is counted by its folders")
    indexes = find_dataset(spec, name=spec.format)
    counts = {split: len(index) for split, index in indexes.items()}
    return {**counts, "classes": indexes["train"].num_classes}


@contextmanager
def _paused_collector() -> Iterator[None]:
    # The collector would rescan all rows again and again, which takes a third of the time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _check_options(spec: DatasetSpec, name: str) -> Format:
    """Return the format of a spec; refuse a spec that lacks an option or has one too many."""
    if spec.format not in FORMATS:
        raise InputError(f"{name}: format must be one of {', '.join(FORMATS)}; got {spec.format!r}")
    own = FORMATS[spec.format]
    if own.needs_annotations and spec.annotations is None:
        raise InputError(f"{name}: annotations is empty; set it to the folder of the lists")
    for option in ("annotations", "split_number", "separator", "group_pattern"):
        value = getattr(spec, option)
        if option not in own.options and value != getattr(DatasetSpec, option):
            raise InputError(
                f"{name}: {option} {str(value)!r} is not read by format {spec.format}; leave it out"
            )
    return own
