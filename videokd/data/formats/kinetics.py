"""Kinetics-400/600/700: `<id>_<start:06d>_<end:06d>.mp4` with one CSV per part.

The videos of a part lie flat (CVDF) or in one folder per label (crawler, torchvision,
mmaction2); labels are compared by their normal form because each of these spells them its own
way. A video in replacement/ wins over the one it replaces. "test" means the val part: the labels
of the real test part are not public.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from videokd.data.formats.listing import (
    VIDEO_EXTENSIONS,
    FolderListing,
    ListedVideo,
    check_disjoint,
    check_folder,
    check_subset,
    check_unique,
    finish_index,
    normal_form,
)
from videokd.data.index import VideoIndex, VideoRecord
from videokd.utils.errors import InputError

_PART_OF_SUBSET = {"train": "train", "test": "val"}
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


def read_kinetics(
    root: Path, *, annotations: Path, subset: str, dataset: str = "kinetics"
) -> VideoIndex:
    """Read one part of a Kinetics dataset or of a dataset in its layout.

    Class ids are the positions of the names of train.csv (of val.csv when there is no train.csv)
    in alphabetical order.

    Args:
        root: Folder with train/ and val/, and replacement/ where the copy has one.
        annotations: Folder with train.csv and val.csv.
        subset: "train", or "test" for the val part.
        dataset: Name given to the records.

    Raises:
        InputError: a folder or list is missing, a row is malformed, names an unknown label or is
            listed twice, a file lies in the folder of another label, or no video exists.
    """
    check_subset(subset)
    check_folder(annotations, f"{dataset}: annotations")
    check_folder(root, f"{dataset}: root")
    class_names, listed = _read_lists(annotations, _PART_OF_SUBSET[subset])
    files = _list_files(root, _PART_OF_SUBSET[subset])
    records: list[VideoRecord] = []
    missing: list[str] = []
    for video in listed:
        path = files.get(video.path)
        if path is None:
            missing.append(video.path)
            continue
        _check_folder_label(root, path, class_names[video.label])
        records.append(VideoRecord(path, video.label, dataset, video.group))
    return finish_index(
        VideoIndex(
            tuple(records), class_names, root, dataset, _PART_OF_SUBSET[subset], tuple(missing)
        )
    )


def _read_lists(annotations: Path, part: str) -> tuple[tuple[str, ...], list[ListedVideo]]:
    tables = {
        name: list(_read_csv(annotations / f"{name}.csv"))
        for name in ("train", "val")
        if name == part or (annotations / f"{name}.csv").exists()
    }
    class_names = _class_names(tables.get("train") or tables[part])
    labels = {normal_form(name): label for label, name in enumerate(class_names)}
    listed = {
        name: [_parse_row(annotations / f"{name}.csv", n, row, labels) for n, row in table]
        for name, table in tables.items()
    }
    for name, videos in listed.items():
        check_unique(videos, str(annotations / f"{name}.csv"))
    if len(listed) == 2:
        check_disjoint(listed["train"], listed["val"], str(annotations))
    return class_names, listed[part]


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            absent = [c for c in _COLUMNS if c not in (reader.fieldnames or ())]
            if absent:
                raise InputError(
                    f"{path} row 1: no column {absent[0]!r}; the header must have "
                    f"{','.join(_COLUMNS)}"
                )
            for row in reader:
                yield reader.line_num, {c: row[c].strip() for c in _COLUMNS}
    except FileNotFoundError:
        raise InputError(f"annotation file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"annotation file {path} cannot be read: {error}") from error


def _class_names(table: list[tuple[int, dict[str, str]]]) -> tuple[str, ...]:
    # One name per normal form: a list that spells a label in two ways has one class for it.
    spelled: dict[str, str] = {}
    for name in sorted({row["label"] for _, row in table}):
        spelled.setdefault(normal_form(name), name)
    return tuple(sorted(spelled.values()))


def _parse_row(path: Path, number: int, row: dict[str, str], labels: dict[str, int]) -> ListedVideo:
    video_id = row["youtube_id"]
    try:
        start_sec, end_sec = (int(float(row[c])) for c in ("time_start", "time_end"))
    except (ValueError, OverflowError):
        raise InputError(
            f"{path} row {number}: times {row['time_start']!r}, {row['time_end']!r} must be seconds"
        ) from None
    if not video_id or "/" in video_id or not 0 <= start_sec < end_sec:
        raise InputError(
            f"{path} row {number}: {video_id!r} from {start_sec} to {end_sec} s must be a video id "
            "and times with 0 <= start < end"
        )
    label = labels.get(normal_form(row["label"]))
    if label is None:
        raise InputError(
            f"{path} row {number}: label {row['label']!r} is not among the {len(labels)} of "
            "train.csv; do not mix versions of Kinetics"
        )
    return ListedVideo(f"{video_id}_{start_sec:06d}_{end_sec:06d}", label, video_id)


def _list_files(root: Path, part: str) -> dict[str, str]:
    """Map the stem of every video of a part to its path; replacements come last and win."""
    folders = [part, f"{part}/*", "replacement", "replacement/*"]
    files: dict[str, str] = {}
    listing = FolderListing(root)
    for pattern in folders:
        for folder in _expand(listing, pattern):
            for name in listing.names(folder):
                stem, dot, extension = name.rpartition(".")
                if f"{dot}{extension.lower()}" in VIDEO_EXTENSIONS:
                    files[stem] = f"{folder}/{name}"
    return files


def _expand(listing: FolderListing, pattern: str) -> list[str]:
    folder, star, _ = pattern.partition("/*")
    if not star:
        return [folder]
    names = sorted(listing.names(folder))
    return [f"{folder}/{n}" for n in names if not n.lower().endswith(VIDEO_EXTENSIONS)]


def _check_folder_label(root: Path, path: str, class_name: str) -> None:
    parts = path.split("/")
    if parts[0] == "replacement" or len(parts) == 2:
        return
    if normal_form(parts[1]) != normal_form(class_name):
        raise InputError(
            f"{root / path} lies in folder {parts[1]!r}, but the list calls it {class_name!r}; "
            "folders and lists must be of one version of Kinetics"
        )
