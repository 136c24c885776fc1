"""Kinetics-400/600/700: `<id>_<start:06d>_<end:06d>.mp4` with one CSV per split.

The videos of a split are in one flat folder (CVDF) or in one folder per label (crawler,
torchvision, mmaction2). Labels are compared by their normal form, since each of these spells them
differently. A video in replacement/ replaces the original. The test split is the val list, since
the labels of the real test list are not public.
"""

import csv
import io
import logging
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from videokd.data.decode.container import VIDEO_EXTENSIONS
from videokd.data.lists.formats.finding import (
    SPLIT_FOLDERS,
    FolderListing,
    is_video_name,
)
from videokd.data.lists.formats.listing import (
    check_disjoint,
    check_folder,
    check_unique,
    normal_form,
    read_text,
)
from videokd.data.lists.formats.spec import DatasetLists, DatasetSpec, ListedVideo
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

_FOLDER_OF_SPLIT = {"train": "train", "test": "val"}
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
# Names used by CVDF and the crawler, DeepMind's archives, and MMAction2's scripts.
_CSV_NAMES = {
    "train": ("train.csv", "kinetics_train.csv"),
    "test": ("val.csv", "validate.csv", "kinetics_val.csv"),
}


class _Row(NamedTuple):
    number: int
    label: str
    video_id: str
    start_sec: str
    end_sec: str


def read_kinetics_lists(spec: DatasetSpec, listing: FolderListing | None) -> DatasetLists:
    """Read a Kinetics dataset or a dataset in its layout.

    Class ids are the positions of the names of train.csv (of val.csv if there is no train.csv) in
    alphabetical order.

    Args:
        spec: Description; its annotations are a folder with train.csv and val.csv (or
            validate.csv). A split without a list is left out.
        listing: Not used.

    Raises:
        InputError: a folder or list is missing, a row is malformed, names an unknown label or is
            listed twice.
    """
    check_folder(spec.lists, "Kinetics annotations")
    found = {split: _find_csv(spec.lists, split) for split in _CSV_NAMES}
    paths = {split: path for split, path in found.items() if path is not None}
    if not paths:
        names = " or ".join(name for own in _CSV_NAMES.values() for name in own)
        raise InputError(f"{spec.lists} has no file {names}")
    tables = {split: list(_read_csv(path)) for split, path in paths.items()}
    first = next(iter(paths))
    class_names = _class_names(tables[first])
    labels = {name: label for label, name in enumerate(class_names)}
    videos: dict[str, list[ListedVideo]] = {}
    for split, path in paths.items():
        videos[split] = _parse_rows(path, tables[split], labels, paths[first].name)
        check_unique(videos[split], str(path))
    check_disjoint(videos, sources={split: str(path) for split, path in paths.items()})
    if any(spec.lists.glob("*test.csv")):
        _logger.info(
            "%s: test lists of Kinetics are not read; the val list is tested on", spec.lists
        )
    return DatasetLists(class_names, videos, {split: path.name for split, path in paths.items()})


def find_kinetics_files(
    listing: FolderListing, lists: DatasetLists, dataset: str
) -> dict[str, dict[str, str]]:
    """Find the videos in train/ and val/ (or videos_train/ and videos_val/) and in replacement/.

    Args:
        listing: Listing of the root.
        lists: Annotation lists.
        dataset: Name of the dataset, for messages.

    Returns:
        Split -> name of a video -> path.

    Raises:
        InputError: a file is in the folder of another label.
    """
    folders = _LabelFolders(listing.root, lists.class_names)
    files = {}
    for split, videos in lists.videos.items():
        files[split] = _list_files(listing, _FOLDER_OF_SPLIT[split], dataset)
        for stem, label, _, _ in videos:
            if stem in files[split]:
                folders.check(files[split][stem], label)
    return files


def _find_csv(annotations: Path, split: str) -> Path | None:
    paths = [path for name in _CSV_NAMES[split] if (path := annotations / name).exists()]
    if len(paths) > 1:
        raise InputError(
            f"{paths[0]} and {paths[1].name} may both be the {split} list; leave one of them there"
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


def _list_files(listing: FolderListing, name: str, dataset: str) -> dict[str, str]:
    """Return video stem -> path for the folder of a split; replacements are read last and win.

    Whole stems are compared and never split, since ids may contain `_` and begin with `-`.
    """
    own = next((own for own in SPLIT_FOLDERS[name] if own in listing.names("")), name)
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
            *(dataset, len(doubled), listing.root / own, doubled[0]),
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
