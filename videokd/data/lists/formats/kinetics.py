"""Kinetics-400/600/700: `<id>_<start:06d>_<end:06d>.mp4` with one CSV per part.

The videos of a part are in one flat folder (CVDF) or in one folder per label (crawler, torchvision,
mmaction2). Labels are compared by their normal form, since each of these spells them differently.
A video in replacement/ replaces the original. "test" means the val part, since the labels of the
real test part are not public.
"""

import csv
import io
import logging
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from videokd.data.lists.file_names import VIDEO_EXTENSIONS, is_video_name
from videokd.data.lists.formats.finding import PART_FOLDERS, FolderListing, finish_index
from videokd.data.lists.formats.listing import (
    ListedVideo,
    check_disjoint,
    check_folder,
    check_unique,
    normal_form,
    read_text,
)
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

_PART_OF_SUBSET = {"train": "train", "test": "val"}
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
# Names used by CVDF and the crawler, DeepMind's archives, and MMAction2's scripts.
_CSV_NAMES = {
    "train": ("train.csv", "kinetics_train.csv"),
    "val": ("val.csv", "validate.csv", "kinetics_val.csv"),
}


class _Row(NamedTuple):
    number: int
    label: str
    video_id: str
    start_sec: str
    end_sec: str


def read_kinetics(
    root: Path, *, annotations: Path, dataset: str = "kinetics"
) -> dict[str, VideoIndex]:
    """Read a Kinetics dataset or a dataset in its layout.

    Class ids are the positions of the names of train.csv (of val.csv if there is no train.csv) in
    alphabetical order.

    Args:
        root: Folder with train/ and val/ (or videos_train/ and videos_val/), and optionally
            replacement/.
        annotations: Folder with train.csv and val.csv (or validate.csv).
        dataset: Name given to the records.

    Returns:
        Part ("train", "test") -> its index, for each part with a list; "test" is the val list.

    Raises:
        InputError: a folder or list is missing, a row is malformed, names an unknown label or is
            listed twice, a file is in the folder of another label, or no video exists.
    """
    check_folder(root, f"{dataset}: root")
    class_names, lists = _read_lists(annotations, dataset)
    if any(annotations.glob("*test.csv")):
        _logger.info("%s: test lists of Kinetics are not read; its val part is tested on", dataset)
    folders = _LabelFolders(root, class_names)
    indexes = {}
    for part, own in _PART_OF_SUBSET.items():
        path = _find_csv(annotations, own)
        if path is not None:
            files = _list_files(root, own, dataset)
            records, missing = _find_files(lists[own], files, folders, dataset)
            place = (class_names, root, dataset, path.name)
            indexes[part] = finish_index(VideoIndex(records, *place, missing))
    return indexes


def _find_files(
    listed: list[ListedVideo], files: Mapping[str, str], folders: "_LabelFolders", dataset: str
) -> tuple[tuple[VideoRecord, ...], tuple[str, ...]]:
    """Return the records of existing videos, and the names of missing ones."""
    records: list[VideoRecord] = []
    missing: list[str] = []
    for stem, label, group, _ in listed:
        path = files.get(stem)
        if path is None:
            missing.append(stem)
        else:
            folders.check(path, label)
            records.append(VideoRecord(path, label, dataset, group))
    return tuple(records), tuple(missing)


def count_kinetics(annotations: Path) -> dict[str, int]:
    """Count the listed videos: keys "train", "test" (the val part), "classes". Needs no videos.

    A part without a list has no key.
    """
    class_names, lists = _read_lists(annotations, "kinetics")
    counts = {s: len(lists[p]) for s, p in _PART_OF_SUBSET.items() if p in lists}
    return {**counts, "classes": len(class_names)}


def _read_lists(
    annotations: Path, dataset: str
) -> tuple[tuple[str, ...], dict[str, list[ListedVideo]]]:
    """Return the class names, and part ("train", "val") -> its videos for each part with a list."""
    check_folder(annotations, f"{dataset}: annotations")
    found = {part: _find_csv(annotations, part) for part in _CSV_NAMES}
    paths = {part: path for part, path in found.items() if path is not None}
    if not paths:
        names = " or ".join(name for own in _CSV_NAMES.values() for name in own)
        raise InputError(f"{annotations} has no file {names}")
    tables = {part: list(_read_csv(path)) for part, path in paths.items()}
    first = next(iter(paths))
    class_names = _class_names(tables[first])
    labels = {name: label for label, name in enumerate(class_names)}
    lists: dict[str, list[ListedVideo]] = {}
    for part, path in paths.items():
        lists[part] = _parse_rows(path, tables[part], labels, paths[first].name)
        check_unique(lists[part], str(path))
    check_disjoint(lists, sources={part: str(path) for part, path in paths.items()})
    return class_names, lists


def _find_csv(annotations: Path, part: str) -> Path | None:
    paths = [path for name in _CSV_NAMES[part] if (path := annotations / name).exists()]
    if len(paths) > 1:
        raise InputError(
            f"{paths[0]} and {paths[1].name} may both be the {part} list; leave one of them there"
        )
    return paths[0] if paths else None


def _read_csv(path: Path) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(read_text(path)))
    try:
        header = [name.strip() for name in next(reader, [])]
        absent = [c for c in _COLUMNS if c not in header]
        if absent:
            raise InputError(
                f"{path} row 1: no column {absent[0]!r}; the header must have "
                f"{','.join(_COLUMNS)} (test lists of Kinetics have no labels)"
            )
        places = [header.index(c) for c in _COLUMNS]
        pick = itemgetter(*places)
        num_needed = max(places) + 1
        for fields in reader:
            if not fields:
                continue
            if len(fields) < num_needed:
                raise InputError(
                    f"{path} row {reader.line_num}: {','.join(fields)!r} has {len(fields)} "
                    f"fields, needed are {num_needed}"
                )
            yield _Row(reader.line_num, *map(str.strip, pick(fields)))
    except csv.Error as error:
        raise InputError(f"{path} row {reader.line_num}: {error}") from error


def _class_names(table: list[_Row]) -> tuple[str, ...]:
    # One name per normal form, so that two spellings of a label make one class.
    spelled: dict[str, str] = {}
    for name in sorted({row.label for row in table} - {""}):
        spelled.setdefault(normal_form(name), name)
    return tuple(sorted(spelled.values()))


def _parse_rows(
    path: Path, table: list[_Row], labels: dict[str, int], list_of_labels: str
) -> list[ListedVideo]:
    by_form = {normal_form(name): label for name, label in labels.items()}
    known = dict(labels)
    listed: list[ListedVideo] = []
    for row in table:
        label = known.get(row.label)
        if label is None:
            label = by_form.get(normal_form(row.label))
            if label is None:
                raise InputError(
                    f"{path} row {row.number}: label {row.label!r} is not among the {len(labels)} "
                    f"of {list_of_labels}; do not mix versions of Kinetics"
                )
            known[row.label] = label
        listed.append(ListedVideo(_stem_of(path, row), label, row.video_id, row.number))
    return listed


def _stem_of(path: Path, row: _Row) -> str:
    try:
        start_sec, end_sec = _whole_sec(row.start_sec), _whole_sec(row.end_sec)
    except (ValueError, OverflowError):
        raise InputError(
            f"{path} row {row.number}: times {row.start_sec!r}, {row.end_sec!r} must be seconds"
        ) from None
    if not row.video_id or "/" in row.video_id or not 0 <= start_sec < end_sec:
        raise InputError(
            f"{path} row {row.number}: {row.video_id!r} from {start_sec} to {end_sec} s must be a "
            "video id and times with 0 <= start < end"
        )
    return f"{row.video_id}_{start_sec:06d}_{end_sec:06d}"


def _whole_sec(text: str) -> int:
    # Some copies write times as "5.0".
    return int(text) if text.isdecimal() else int(float(text))


def _list_files(root: Path, part: str, dataset: str) -> dict[str, str]:
    """Return video stem -> path for a part; replacements are read last and win.

    Whole stems are compared and never split, since ids may contain `_` and begin with `-`.
    """
    listing = FolderListing(root)
    own = next((name for name in PART_FOLDERS[part] if name in listing.names("")), part)
    files: dict[str, str] = {}
    doubled: list[str] = []
    for top in (own, "replacement"):
        for folder in (top, *_folders_in(listing, top)):
            for name in sorted(listing.names(folder)):
                stem = name.rpartition(".")[0]
                if is_video_name(name):
                    if top == own and stem in files:
                        doubled.append(files[stem])
                    files[stem] = f"{folder}/{name}"
    if doubled:
        _logger.warning(
            "%s: %d videos have several files in %s, e.g. %s and %s; the last is read",
            *(dataset, len(doubled), root / own, doubled[0]),
            files[Path(doubled[0]).stem],
        )
    return files


def _folders_in(listing: FolderListing, folder: str) -> list[str]:
    names = sorted(listing.names(folder))
    return [f"{folder}/{n}" for n in names if not n.lower().endswith(VIDEO_EXTENSIONS)]


class _LabelFolders:
    """Checker that files are in the folder of their label, if there are label folders."""

    def __init__(self, root: Path, class_names: tuple[str, ...]) -> None:
        self._root = root
        self._names = class_names
        self._forms = [normal_form(name) for name in class_names]
        self._form_of_folder: dict[str, str] = {}

    def check(self, path: str, label: int) -> None:
        top, _, rest = path.partition("/")
        folder, is_inside, _ = rest.partition("/")
        if not is_inside or top == "replacement":
            return
        form = self._form_of_folder.get(folder)
        if form is None:
            form = self._form_of_folder[folder] = normal_form(folder)
        if form != self._forms[label]:
            raise InputError(
                f"{self._root / path} lies in folder {folder!r}, but the list calls it "
                f"{self._names[label]!r}; folders and lists must be of one version of Kinetics"
            )
