"""Files and rows of path-label lists, which `path_list` interprets.

Supported are the lists of SlowFast and PyTorchVideo (`train.csv`, `val.csv`, `test.csv`; no
header), the lists of MMAction2 (`<name>_train_list_videos.txt`,
`<name>_train_split_1_videos.txt`) and CSV files with a header.
"""

import csv
import io
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from videokd.data.lists.formats.listing import check_folder, read_rows, read_text
from videokd.data.lists.formats.spec import AUTO_SEPARATOR
from videokd.utils.errors import InputError

_logger = logging.getLogger(__name__)

_SEPARATORS = (",", "\t", ";", "|", " ")
_COLUMNS = ("path", "label", "split", "group")
_TIME_COLUMN = re.compile(
    r"(t|time|clip|frame|segment|seg)?[_ ]?(start|begin|onset|end|stop|offset)"
    r"[_ ]?(t|s|ms|sec|secs|seconds|time|frame|idx|index)?"
)
_LIST_NAME = re.compile(
    r"(?:.+_)?(train|val|valid|validation|test)(?:_list)?(?:_split_?(\d+))?(_videos|_rawframes)?"
    r"\.(?:csv|txt)"
)
_SPLITS = ("train", "val", "test")
_SPLIT_OF_NAME = {
    "train": "train",
    "test": "test",
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}


class ListRow(NamedTuple):
    """One row: its number from 1 and its fields; the group is "" if there is no such column."""

    number: int
    path: str
    label: str
    group: str


@dataclass
class ListTable:
    """Rows of one split.

    Args:
        source: File that holds the rows.
        name: Name of the list for messages: the file, and the split if the file holds several.
        has_header: Whether the file has a header; only then labels may be names.
        ignored: Columns that are not read.
        rows: Rows of the split, in order.
    """

    source: Path
    name: str
    has_header: bool
    ignored: tuple[str, ...] = ()
    rows: list[ListRow] = field(default_factory=list)


def read_tables(annotations: Path, *, split_number: int, separator: str) -> dict[str, ListTable]:
    """Read all lists of a dataset.

    Args:
        annotations: Folder of one list per split, or one CSV file with a column `split`.
        split_number: Number of the split for files named `..._split_<number>...`; else 1.
        separator: Separator of path and label; "auto" takes the last comma or blank.

    Returns:
        Split ("train", "val", "test") -> its rows, in this order.

    Raises:
        InputError: a folder or file is missing or ambiguous, or a row is malformed.
    """
    tables: dict[str, ListTable] = {}
    if annotations.is_file():
        found = _read_file(annotations, separator, split="")
        tables = {split: found[split] for split in _SPLITS if split in found}
    else:
        check_folder(annotations, "list annotations")
        for split in _SPLITS:
            path = _find_list(annotations, split, split_number)
            if path is not None:
                tables.update(_read_file(path, separator, split=split))
    ignored = dict.fromkeys(name for table in tables.values() for name in table.ignored)
    if ignored:
        _logger.warning("%s: columns that are not read: %s", annotations, ", ".join(ignored))
    if "train" not in tables and not annotations.is_file():
        raise InputError(
            f"{annotations} has no training list such as train.csv, train_list_videos.txt or "
            f"train_split_{split_number}_videos.txt; name the file itself when it has a column "
            "'split'"
        )
    return tables


def _find_list(annotations: Path, split: str, split_number: int) -> Path | None:
    matches = [
        (path, match)
        for path in sorted(annotations.iterdir())
        if (match := _LIST_NAME.fullmatch(path.name.lower()))
        and _SPLIT_OF_NAME[match.group(1)] == split
        and match.group(2) in (None, str(split_number))
    ]
    of_videos = [(path, match) for path, match in matches if match.group(3) != "_rawframes"]
    if matches and not of_videos:
        raise InputError(
            f"{matches[0][0]} lists frame folders, which are not read; make a list of videos"
        )
    # A list of this split takes precedence over a list without a split number.
    own = [path for path, match in of_videos if match.group(2)]
    paths = own or [path for path, _ in of_videos if split_number == 1]
    if len(paths) > 1:
        raise InputError(
            f"{paths[0]} and {paths[1].name} may both be the {split} list; leave one of them there"
        )
    return paths[0] if paths else None


def _read_file(path: Path, separator: str, *, split: str) -> dict[str, ListTable]:
    """Read a file of one split, or of all splits if `split` is ""."""
    delimiter = "," if separator == AUTO_SEPARATOR else separator
    rows = read_rows(path)
    first = rows[0][1] if rows else ""
    columns = _split_header(first, delimiter)
    has_header = _is_header(columns)
    if not has_header and not split:
        raise InputError(
            f"{path} row 1: {first!r} must be the header path,label,split[,group]"
            f"{_explain_header(first, delimiter)}; or name a folder of one list per split"
        )
    if not has_header:
        plain = list(_read_plain(path, rows, separator))
        return {split: ListTable(path, path.name, has_header=False, rows=plain)}
    ignored = _check_columns(path, columns, delimiter)
    tables: dict[str, ListTable] = {}
    if split:
        tables[split] = ListTable(path, path.name, True, ignored)
    for row, name in _read_headed(path, columns, delimiter):
        own = _SPLIT_OF_NAME.get(name, "") if name else split
        if not own or (split and own != split):
            raise InputError(
                f"{path} row {row.number}: split {name!r} must be {split or 'train, val or test'}"
            )
        table = tables.setdefault(own, ListTable(path, f"{path.name}: {own}", True, ignored))
        table.rows.append(row)
    return tables


def _split_header(text: str, delimiter: str) -> list[str]:
    fields = next(csv.reader([text], delimiter=delimiter), []) if len(delimiter) == 1 else []
    return [name.strip().lower() for name in fields or text.split(delimiter)]


def _is_header(columns: list[str]) -> bool:
    return "path" in columns and "label" in columns


def _explain_header(text: str, delimiter: str) -> str:
    """Return a hint if the first row is a header with another separator, or ""."""
    for other in _SEPARATORS:
        if other != delimiter and _is_header(_split_header(text, other)):
            return f"; it is separated by {other!r}, so set SEPARATOR to {other!r}"
    return ""


def _check_columns(path: Path, columns: list[str], delimiter: str) -> tuple[str, ...]:
    """Return the columns that are not read; refuse columns that change the meaning of a row."""
    if len(set(columns)) < len(columns) or len(delimiter) != 1:
        raise InputError(
            f"{path} row 1: columns {delimiter.join(columns)} must be path,label[,split][,group], "
            "each once, with a SEPARATOR of one character"
        )
    times = [name for name in columns if _TIME_COLUMN.fullmatch(name)]
    if times:
        raise InputError(
            f"{path} row 1: column {times[0]!r} is a time within a video, but videos are read "
            "whole; cut them first, or remove the column when they are cut already"
        )
    return tuple(name for name in columns if name not in _COLUMNS)


def _read_plain(path: Path, rows: list[tuple[int, str]], separator: str) -> Iterator[ListRow]:
    split_row = _make_row_splitter(separator)
    for number, text in rows:
        video, label = split_row(text)
        if not video or not label.isdecimal():
            raise InputError(
                f"{path} row {number}: {text!r} must be '<path><separator><label>' with a label "
                f"0, 1, 2, ...{_explain_row(text, separator, is_first=number == rows[0][0])}"
            )
        # The first two conditions are for speed, since most rows are of .mp4 files.
        if video[-1].isdecimal() and video[-4:] != ".mp4" and _ends_in_a_field_of_digits(video):
            raise InputError(
                f"{path} row {number}: {text!r} has a number between path and label; frame folders "
                "('<folder> <frames> <label>') and several labels per video are not read"
            )
        if video[0] == video[-1] == '"':
            raise InputError(
                f"{path} row {number}: path {video} is in quotes, which are read under a header "
                "only; remove them, or write path,label above the first row"
            )
        yield ListRow(number, video, label, "")


def _explain_row(text: str, separator: str, *, is_first: bool) -> str:
    """Return a hint why a row without a header has no path or no label, and the remedy."""
    header = _explain_header(text, "," if separator == AUTO_SEPARATOR else separator)
    if is_first and header:
        return header
    if "\\" in separator:
        return f'; SEPARATOR is {separator!r}: in YAML, a tab is "\\t" in double quotes'
    for other in _SEPARATORS:
        video, found, label = text.rpartition(other)
        if found and video and label.strip().isdecimal():
            return f"; SEPARATOR is {separator!r}, here it is {other!r}: set it so"
    if is_first and not re.search(r"[./\d]", text):
        return "; if it is a header, its columns must be called path and label"
    return "; labels that are names need the header path,label above the first row"


def _make_row_splitter(separator: str) -> Callable[[str], tuple[str, str]]:
    if separator == AUTO_SEPARATOR:
        return _split_at_last_blank_or_comma

    def split_row(text: str) -> tuple[str, str]:
        video, _, label = text.rpartition(separator)
        return video.strip(), label.strip()

    return split_row


def _split_at_last_blank_or_comma(text: str) -> tuple[str, str]:
    fields = text.rsplit(None, 1)
    if len(fields) == 2 and fields[1].isdecimal():
        return fields[0].rstrip(" \t,"), fields[1]
    video, _, label = text.rpartition(",")
    return video.rstrip(), label


def _ends_in_a_field_of_digits(video: str) -> bool:
    last = re.split(r"[\s,;|]", video)[-1]
    return last != video and last.isdecimal()


def _read_headed(path: Path, columns: list[str], delimiter: str) -> Iterator[tuple[ListRow, str]]:
    """Yield the rows below a header, each with its split, or "" if it has none."""
    places = [columns.index(name) if name in columns else -1 for name in _COLUMNS]
    reader = csv.reader(io.StringIO(read_text(path)), delimiter=delimiter)
    try:
        next(row for row in reader if row)
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(columns):
                raise InputError(
                    f"{path} row {reader.line_num}: {delimiter.join(fields)!r} has {len(fields)} "
                    f'fields, the header {len(columns)}; put "quotes" around a path with '
                    f"{delimiter!r} in it"
                )
            video, label, split, group = (
                fields[place].strip() if place >= 0 else "" for place in places
            )
            if not video or not label:
                raise InputError(
                    f"{path} row {reader.line_num}: path {video!r} and label {label!r} must not be "
                    "empty"
                )
            yield ListRow(reader.line_num, video, label, group), split.lower()
    except csv.Error as error:
        raise InputError(f"{path} row {reader.line_num}: {error}") from error
