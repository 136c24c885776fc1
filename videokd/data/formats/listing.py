"""What the readers of annotation lists share: text rows, spellings, groups and the checks of lists.

Rows are kept as plain tuples and handled with str methods: lists of 650,000 rows are real.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

VIDEO_EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
SUBSETS = ("train", "test")


class ListedVideo(NamedTuple):
    """One row of a list, before it is known whether its file exists.

    Args:
        path: As the list has it, relative to the root, with forward slashes.
        label: Class id, 0-based.
        group: Source of the video.
        row: Where the list names it, from 1; for messages.
    """

    path: str
    label: int
    group: str
    row: int


def normal_form(name: str) -> str:
    """Reduce a label to what all its spellings share: lower case words, single blanks.

    Apostrophes vanish before the rest of the punctuation becomes blanks, since some copies of
    Kinetics name the folder of "person's" `persons`.
    """
    return re.sub(r"[\W_]+", " ", name.lower().replace("'", "")).strip()


def check_spellings(names: Iterable[str], source: str) -> None:
    """Raise InputError when two class names differ only in spelling; `source` names the list."""
    spelled: dict[str, str] = {}
    for name in names:
        other = spelled.setdefault(normal_form(name), name)
        if other != name:
            raise InputError(
                f"{source}: classes {other!r} and {name!r} differ only in spelling; keep one"
            )


def check_subset(subset: str) -> None:
    """Raise InputError unless subset is "train" or "test"."""
    if subset not in SUBSETS:
        raise InputError(f"subset must be one of {', '.join(SUBSETS)}, got {subset!r}")


def check_folder(folder: Path, what: str) -> None:
    """Raise InputError unless the folder exists; `what` says what it should hold."""
    if not folder.is_dir():
        raise InputError(f"{what} {folder} is not a folder; set it to where the dataset lies")


def read_text(path: Path) -> str:
    """Read an annotation file, with or without a byte order mark; line ends become LF.

    Raises:
        InputError: the file is missing or is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"annotation file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"annotation file {path} cannot be read: {error}") from error


def read_rows(path: Path) -> list[tuple[int, str]]:
    """Read the rows of a text file that are not blank.

    Returns:
        (row number from 1, text without outer blanks) pairs. Line ends may be LF or CRLF.

    Raises:
        InputError: the file is missing or is not UTF-8 text.
    """
    rows = ((number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), 1))
    return [(number, line) for number, line in rows if line]


def make_group_finder(pattern: str) -> Callable[[str], str]:
    r"""Return a function that names the source of a video, given its path under the root.

    Args:
        pattern: Regular expression that is searched in the path; its first group, or the whole
            match when it has none, is the source: `(person\d+)_`. "" takes the name of the file
            up to its last underscore.

    Raises:
        InputError: the pattern is not a regular expression; at a call, it is not in the path.
    """
    if not pattern:
        return _name_to_last_underscore
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise InputError(f"group pattern {pattern!r} is no regular expression: {error}") from error

    def find(path: str) -> str:
        match = search(path)
        if match is None:
            return ""
        return (match.group(1) if match.re.groups else match.group()) or ""

    return find


def _name_to_last_underscore(path: str) -> str:
    name = path.rpartition("/")[2]
    stem = name.rpartition(".")[0] or name
    return stem.rpartition("_")[0] or stem


def check_unique(listed: Sequence[ListedVideo], source: str) -> None:
    """Raise InputError when a path is listed twice; `source` names the list."""
    if len({video.path for video in listed}) == len(listed):
        return
    rows: dict[str, int] = {}
    for video in listed:
        first = rows.setdefault(video.path, video.row)
        if first != video.row:
            raise InputError(
                f"{source} row {video.row}: {video.path} is listed twice, first in row {first}; "
                "remove one of the rows"
            )


def check_disjoint(
    train: Sequence[ListedVideo], test: Sequence[ListedVideo], *, sources: tuple[str, str]
) -> None:
    """Check that no video is in both parts; warn when parts share a source of videos.

    Args:
        train: The videos of the training list.
        test: Those of the test list.
        sources: The files of the two lists.

    Raises:
        InputError: a video is in both.
    """
    shared = {v.path for v in train} & {v.path for v in test}
    if shared:
        path = min(shared)
        rows = [next(v.row for v in part if v.path == path) for part in (train, test)]
        raise InputError(
            f"{len(shared)} videos are in train and test, e.g. {path} (row {rows[0]} of "
            f"{sources[0]}, row {rows[1]} of {sources[1]}); results would be worthless, use the "
            "official lists"
        )
    warn_of_shared_groups(
        {(v.label, v.group) for v in train} & {(v.label, v.group) for v in test},
        source=" and ".join(dict.fromkeys(sources)),
    )


def warn_of_shared_groups(shared: Collection[tuple[int, str]], *, source: str) -> None:
    """Log a warning when there are (class id, group) pairs that train and test share."""
    if shared:
        label, group = min(shared)
        _logger.warning(
            "%s: train and test share %d (class, group) pairs, e.g. group %s of class %d: "
            "if a group is one scene or upload, test results will be too high",
            *(source, len(shared), group, label),
        )
