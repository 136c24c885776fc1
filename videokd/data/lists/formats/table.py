"""Table of dataset formats: functions to read and count a dataset, and their options."""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from videokd.data.lists.formats.finding import check_links
from videokd.data.lists.formats.folder import count_folder, read_folder
from videokd.data.lists.formats.hmdb51 import count_hmdb51, read_hmdb51
from videokd.data.lists.formats.kinetics import count_kinetics, read_kinetics
from videokd.data.lists.formats.list_rows import AUTO_SEPARATOR
from videokd.data.lists.formats.mirror import resolve_mirror_labels, warn_of_likely_pair
from videokd.data.lists.formats.path_list import count_path_list, read_path_list
from videokd.data.lists.formats.ssv2 import SSV2_LEFT_RIGHT_PAIRS, count_ssv2, read_ssv2
from videokd.data.lists.formats.ucf101 import count_ucf101, read_ucf101
from videokd.data.lists.index import VideoIndex
from videokd.utils.errors import InputError


@dataclass(frozen=True)
class DatasetSpec:
    """Location and reading options of a dataset.

    Args:
        format: A key of FORMATS.
        root: Folder of the videos; None if only lists are counted.
        annotations: Folder (or file) of the lists; None for formats without lists.
        split: 1, 2 or 3; 1 for formats without splits.
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
    split: int = 1
    separator: str = AUTO_SEPARATOR
    group_pattern: str = ""
    flip: str = "auto"
    left_right_pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Format:
    """A dataset format.

    Args:
        read: (root, dataset=, **options) -> part ("train", "val", "test") -> its VideoIndex.
        count: (**options) -> counts of the lists, or of the folders if the format has no lists.
        options: Fields of a DatasetSpec that both functions take.
        parts_from: Description of where its parts come from, for messages.
        left_right_pairs: Pairs of its classes that mirroring exchanges.
    """

    read: Callable[..., dict[str, VideoIndex]]
    count: Callable[..., dict[str, int]]
    options: tuple[str, ...]
    parts_from: str
    left_right_pairs: tuple[tuple[str, str], ...] = ()

    @property
    def needs_annotations(self) -> bool:
        """Whether labels are read from lists."""
        return "annotations" in self.options


_TRAIN_LISTS = "the lists of train and test"
FORMATS: Mapping[str, Format] = {
    "ucf101": Format(read_ucf101, count_ucf101, ("annotations", "split"), _TRAIN_LISTS),
    "hmdb51": Format(read_hmdb51, count_hmdb51, ("annotations", "split"), _TRAIN_LISTS),
    "kinetics": Format(
        read_kinetics,
        count_kinetics,
        ("annotations",),
        "train.csv, and val.csv or validate.csv for test; its test lists have no labels",
    ),
    "ssv2": Format(read_ssv2, count_ssv2, ("annotations",), _TRAIN_LISTS, SSV2_LEFT_RIGHT_PAIRS),
    "list": Format(
        read_path_list,
        count_path_list,
        ("annotations", "split", "separator", "group_pattern"),
        "train.csv, test.csv and val.csv, or rows of one file by its column split",
    ),
    "folder": Format(
        read_folder, count_folder, ("group_pattern",), "the folders train/, test/ and val/"
    ),
}


def read_dataset(spec: DatasetSpec, *, name: str) -> dict[str, VideoIndex]:
    """Read a dataset of any format.

    Args:
        spec: Location and options of the dataset.
        name: Name given to the records.

    Returns:
        Part -> its index: "train" and "test", and "val" if the dataset has its own.

    Raises:
        InputError: the format's reader refuses it, a folder is not given, a part is absent, or an
            option is set that the format does not use.
    """
    indexes = find_dataset(spec, name=name)
    own = FORMATS[spec.format]
    absent = [part for part in ("train", "test") if part not in indexes]
    if absent:
        raise InputError(
            f"{name}: {spec.annotations or spec.root} has no {absent[0]} part; parts come from "
            f"{own.parts_from}"
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
    return {part: replace(index, mirror_labels=mirror_labels) for part, index in indexes.items()}


def find_dataset(spec: DatasetSpec, *, name: str) -> dict[str, VideoIndex]:
    """Read all parts that a dataset of any format has, even only one; see `read_dataset`."""
    options = _check_options(spec, name)
    if spec.root is None:
        raise InputError(f"{name}: root is empty; set it to the folder of the videos")
    with _paused_collector():
        indexes = FORMATS[spec.format].read(spec.root, dataset=name, **options)
    check_links(indexes)
    return indexes


def count_dataset(spec: DatasetSpec) -> dict[str, int]:
    """Count the listed videos: keys "train", "val", "test" and "classes".

    Absent lists have no key, and neither has "val" if validation is held out of train.

    Raises:
        InputError: same as for `read_dataset`.
    """
    options = _check_options(spec, spec.format)
    own = FORMATS[spec.format]
    if own.needs_annotations:
        return own.count(**options)
    if spec.root is None:
        raise InputError(f"{spec.format}: root is empty; this format is counted by its folders")
    return own.count(spec.root, **options)


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


def _check_options(spec: DatasetSpec, name: str) -> dict[str, Any]:
    """Return the options of a spec that the format uses."""
    if spec.format not in FORMATS:
        raise InputError(f"{name}: format must be one of {', '.join(FORMATS)}; got {spec.format!r}")
    own = FORMATS[spec.format]
    if own.needs_annotations and spec.annotations is None:
        raise InputError(f"{name}: annotations is empty; set it to the folder of the lists")
    for option in ("annotations", "split", "separator", "group_pattern"):
        value = getattr(spec, option)
        if option not in own.options and value != getattr(DatasetSpec, option):
            raise InputError(
                f"{name}: {option} {str(value)!r} is not read by format {spec.format}; leave it out"
            )
    return {option: getattr(spec, option) for option in own.options}
