"""What the readers of all layouts share: text rows, folder listings, spellings, the final checks.

Folders are listed once each: a stat per row would cost minutes on network disks.
"""

import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from videokd.data.index import VideoIndex, VideoRecord
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

VIDEO_EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
SUBSETS = ("train", "test")


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """One row of a list, before it is known whether its file exists.

    Args:
        path: As the list has it, relative to the root, with forward slashes.
        label: Class id, 0-based.
        group: Source of the video.
    """

    path: str
    label: int
    group: str


def normal_form(name: str) -> str:
    """Reduce a label to what all its spellings share: lower case words, single blanks.

    Apostrophes vanish before the rest of the punctuation becomes blanks, since some copies of
    Kinetics name the folder of "person's" `persons`.
    """
    return re.sub(r"[\W_]+", " ", name.lower().replace("'", "")).strip()


def check_subset(subset: str) -> None:
    """Raise InputError unless subset is "train" or "test"."""
    if subset not in SUBSETS:
        raise InputError(f"subset must be one of {', '.join(SUBSETS)}, got {subset!r}")


def check_folder(folder: Path, what: str) -> None:
    """Raise InputError unless the folder exists; `what` says what it should hold."""
    if not folder.is_dir():
        raise InputError(f"{what} {folder} is not a folder; set it to where the dataset lies")


def read_rows(path: Path) -> list[tuple[int, str]]:
    """Read the rows of a text file that are not blank.

    Returns:
        (row number from 1, text without outer blanks) pairs. Line ends may be LF or CRLF.

    Raises:
        InputError: the file is missing or is not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"annotation file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"annotation file {path} cannot be read: {error}") from error
    rows = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return [(number, line) for number, line in rows if line]


def check_unique(listed: Sequence[ListedVideo], source: str) -> None:
    """Raise InputError when a path is listed twice; `source` names the list."""
    seen: set[str] = set()
    for video in listed:
        if video.path in seen:
            raise InputError(f"{source}: {video.path} is listed twice; remove one of the rows")
        seen.add(video.path)


def check_disjoint(train: Sequence[ListedVideo], test: Sequence[ListedVideo], source: str) -> None:
    """Check that no video is in both parts; warn when parts share a source.

    Raises:
        InputError: a video is in both.
    """
    shared = {v.path for v in train} & {v.path for v in test}
    if shared:
        raise InputError(
            f"{source}: {len(shared)} videos are in train and test, e.g. {min(shared)}; "
            "results would be worthless, use the official lists"
        )
    groups = {(v.label, v.group) for v in train} & {(v.label, v.group) for v in test}
    if groups:
        _logger.warning(
            "%s: train and test share %d (class, group) pairs, e.g. group %s of class %d: "
            "test results will be too high",
            source,
            len(groups),
            *reversed(min(groups)),
        )


class FolderListing:
    """The names under a root, one directory listing per folder.

    A name that is not there is looked up once more in its normalised form (lower case, odd
    characters as underscores), because some copies of HMDB51 and UCF101 were renamed that way.

    Args:
        root: Folder that all looked-up paths start from.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, frozenset[str]] = {}
        self._normalised: dict[str, dict[str, str]] = {}
        self.num_renamed = 0

    def names(self, folder: str) -> frozenset[str]:
        """List the names in a folder given relative to the root; empty when there is none."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(self._root / folder))
            except (FileNotFoundError, NotADirectoryError):
                self._names[folder] = frozenset()
        return self._names[folder]

    def find(self, path: str) -> str | None:
        """Find the path as the disk spells it, or None."""
        found = ""
        is_renamed = False
        for part in path.split("/"):
            name = part if part in self.names(found) else self._find_renamed(found, part)
            if name is None:
                return None
            is_renamed = is_renamed or name != part
            found = f"{found}/{name}" if found else name
        self.num_renamed += is_renamed
        return found

    def _find_renamed(self, folder: str, name: str) -> str | None:
        if folder not in self._normalised:
            table: dict[str, str] = {}
            for entry in self.names(folder):
                key = _file_normal_form(entry)
                # Two files with one normal form: neither can be the answer.
                table[key] = "" if key in table else entry
            self._normalised[folder] = table
        return self._normalised[folder].get(_file_normal_form(name)) or None


def _file_normal_form(name: str) -> str:
    stem, dot, extension = name.lower().rpartition(".")
    return re.sub(r"\W", "_", stem) + dot + extension


def build_index(
    listed: Iterable[ListedVideo],
    *,
    root: Path,
    class_names: Sequence[str],
    dataset: str,
    split: str,
) -> VideoIndex:
    """Keep the listed videos that exist under root; name the others in `missing`.

    Raises:
        InputError: root is not a folder, or not one of the videos exists.
    """
    check_folder(root, f"{dataset}: root")
    listing = FolderListing(root)
    records: list[VideoRecord] = []
    missing: list[str] = []
    for video in listed:
        path = listing.find(video.path)
        if path is None:
            missing.append(video.path)
        else:
            records.append(VideoRecord(path, video.label, dataset, video.group))
    if listing.num_renamed:
        _logger.warning(
            "%s %s: %d videos were found under a normalised name",
            dataset,
            split,
            listing.num_renamed,
        )
    return finish_index(
        VideoIndex(tuple(records), tuple(class_names), root, dataset, split, tuple(missing))
    )


def finish_index(index: VideoIndex) -> VideoIndex:
    """Report what is missing and refuse an index without a single video.

    Raises:
        InputError: no listed video exists.
    """
    num_listed = len(index) + len(index.missing)
    if not index.records:
        example = f" (looked for e.g. {index.missing[0]})" if index.missing else ""
        raise InputError(
            f"{index.dataset} {index.split}: 0 videos of {num_listed} listed exist under "
            f"{index.root}{example}; check root and layout"
        )
    if index.missing:
        _logger.warning(
            "%s %s: %d of %d listed videos are missing under %s, e.g. %s",
            index.dataset,
            index.split,
            len(index.missing),
            num_listed,
            index.root,
            index.missing[0],
        )
    return index
