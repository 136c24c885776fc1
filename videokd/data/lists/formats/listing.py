"""Shared code of the readers of annotation lists: rows, spellings, groups and checks.

Rows are plain tuples processed with str methods, since lists may have 650,000 rows.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from videokd.data.lists.formats.spec import DatasetSpec, ListedVideo
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def normal_form(name: str) -> str:
    """Return a form of a label common to all its spellings: lower case words, single blanks.

    Apostrophes are removed before other punctuation becomes blanks, since some copies of Kinetics
    name the folder of "person's" `persons`.
    """
    return re.sub(r"[\W_]+", " ", name.lower().replace("'", "")).strip()


def check_spellings(names: Iterable[str], source: str) -> None:
    """Raise InputError if two class names differ only in spelling; `source` names the list."""
    spelled: dict[str, str] = {}
    for name in names:
        other = spelled.setdefault(normal_form(name), name)
        if other != name:
            raise InputError(
                f"{source}: classes {other!r} and {name!r} differ only in spelling; keep one"
            )


def check_folder(folder: Path, what: str) -> None:
    """Raise InputError unless the folder exists; `what` describes its content in the message."""
    if not folder.is_dir():
        raise InputError(f"{what} {folder} is not a folder; set it to where the dataset lies")


def check_split_number(spec: DatasetSpec, name: str) -> None:
    """Raise InputError unless the number of the split is 1, 2 or 3; `name` is of the format."""
    if spec.split_number not in (1, 2, 3):
        raise InputError(f"{name} split must be 1, 2 or 3, got {spec.split_number}")


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
    """Read the non-blank rows of a text file.

    Returns:
        (row number from 1, text stripped of blanks) pairs. Line ends may be LF or CRLF.

    Raises:
        InputError: the file is missing or is not UTF-8 text.
    """
    rows = ((number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), 1))
    return [(number, line) for number, line in rows if line]


def make_group_finder(pattern: str) -> Callable[[str], str]:
    r"""Return a function from a video's path under the root to the name of its source.

    The function returns "" for a path that the pattern does not match.

    Args:
        pattern: Regular expression searched in the path. Its first group, or the whole match if it
            has none, is the source: `(person\d+)_`. "" takes the file name up to its last
            underscore.

    Raises:
        InputError: the pattern is not a regular expression.
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
    """Raise InputError if a path is listed twice; `source` names the list."""
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
    listed: Mapping[str, Sequence[ListedVideo]], *, sources: Mapping[str, str]
) -> None:
    """Check that no video is in two splits; warn if training shares sources with another split.

    Args:
        listed: Split ("train", "val", "test") -> its videos.
        sources: Split -> path of its list.

    Raises:
        InputError: a video is in two splits.
    """
    for first, second in combinations(listed, 2):
        shared = {v.path for v in listed[first]} & {v.path for v in listed[second]}
        if shared:
            path = min(shared)
            rows = [next(v.row for v in listed[s] if v.path == path) for s in (first, second)]
            raise InputError(
                f"{len(shared)} videos are in {first} and {second}, e.g. {path} (row {rows[0]} of "
                f"{sources[first]}, row {rows[1]} of {sources[second]}); results would be "
                "worthless, use the official lists"
            )
    groups = {split: {(v.label, v.group) for v in own} for split, own in listed.items()}
    warn_of_shared_groups(groups, source=" and ".join(dict.fromkeys(sources.values())))


def warn_of_shared_groups(
    groups: Mapping[str, Collection[tuple[int, str]]], *, source: str
) -> None:
    """Log one warning if training and other splits have (class id, group) pairs in common.

    Args:
        groups: Split -> its (class id, group) pairs.
        source: Name of the lists or of the folder.
    """
    train = set(groups.get("train", ()))
    shared = {split: train.intersection(own) for split, own in groups.items() if split != "train"}
    counts = [f"{len(pairs)} with {split}" for split, pairs in shared.items() if pairs]
    if counts:
        label, group = min(pair for pairs in shared.values() for pair in pairs)
        _logger.warning(
            "%s: train shares (class, group) pairs, %s, e.g. group %s of class %d: if a group is "
            "one scene or upload, results on videos of such groups will be too high",
            *(source, " and ".join(counts), group, label),
        )
