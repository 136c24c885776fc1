"""What the readers of annotation lists share: text rows, spellings, groups and the checks of lists.

Rows are kept as plain tuples and handled with str methods: lists of 650,000 rows are real.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


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
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"annotation file {path} does not exist") from None
    except OSError as error:
        raise InputError(f"annotation file {path} cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        encoding = "utf-16" if data[:2] in _UTF16_MARKS else "latin1"
        raise InputError(
            f"annotation file {path} is not UTF-8 text (byte {data[error.start]:#x} in row {row}); "
            f"convert it, e.g. iconv -f {encoding} -t utf-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
    parts: Mapping[str, Sequence[ListedVideo]], *, sources: Mapping[str, str]
) -> None:
    """Check that no video is in two parts; warn when training shares sources with another part.

    Args:
        parts: Part ("train", "val", "test") -> its videos.
        sources: Part -> the file of its list.

    Raises:
        InputError: a video is in two parts.
    """
    for first, second in combinations(parts, 2):
        shared = {v.path for v in parts[first]} & {v.path for v in parts[second]}
        if shared:
            path = min(shared)
            rows = [next(v.row for v in parts[p] if v.path == path) for p in (first, second)]
            raise InputError(
                f"{len(shared)} videos are in {first} and {second}, e.g. {path} (row {rows[0]} of "
                f"{sources[first]}, row {rows[1]} of {sources[second]}); results would be "
                "worthless, use the official lists"
            )
    groups = {part: {(v.label, v.group) for v in videos} for part, videos in parts.items()}
    warn_of_shared_groups(groups, source=" and ".join(dict.fromkeys(sources.values())))


def warn_of_shared_groups(
    groups: Mapping[str, Collection[tuple[int, str]]], *, source: str
) -> None:
    """Log one warning when training and other parts have (class id, group) pairs in common.

    Args:
        groups: Part -> its pairs.
        source: Name of the lists or of the folder.
    """
    train = set(groups.get("train", ()))
    shared = {part: train.intersection(own) for part, own in groups.items() if part != "train"}
    counts = [f"{len(pairs)} with {part}" for part, pairs in shared.items() if pairs]
    if counts:
        label, group = min(pair for pairs in shared.values() for pair in pairs)
        _logger.warning(
            "%s: train shares (class, group) pairs, %s, e.g. group %s of class %d: if a group is "
            "one scene or upload, results on videos of such groups will be too high",
            *(source, " and ".join(counts), group, label),
        )
