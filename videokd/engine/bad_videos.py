"""``bad_videos.csv``: the videos that a training could not read, each with its cause."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from videokd.data.batch import BadVideo
from videokd.engine.disk import naming_failures
from videokd.utils.io import atomic_write_bytes

_HEADER = ("dataset", "path", "cause", "step")


class BadVideoList:
    r"""CSV file of unreadable videos, each listed once, also over restarts.

    A row is on disk before the training continues, so the file is complete even if the process is
    killed. Columns: dataset, path, cause, and the first step whose batch lacks the video, counted
    from 1. A line break in a path or cause is written as ``\n``.

    Args:
        path: The file; created with the first video.
        dataset_names: Dataset names by dataset id.
        is_silent: Write nothing, because another process writes the file.
    """

    def __init__(
        self, path: Path, dataset_names: Sequence[str], *, is_silent: bool = False
    ) -> None:
        self._path = path
        self._is_silent = is_silent
        self._names = tuple(dataset_names)
        rows = [] if is_silent else _read_rows(path)
        self._known = {(row[0], row[1]) for row in rows}

    def add(self, video: BadVideo, step: int) -> None:
        """Append a video, unless the file lists it already.

        Args:
            video: The unreadable video.
            step: The first step whose batch lacks it, counted from 1.
        """
        key = (_in_one_line(self._names[video.dataset_id]), _in_one_line(video.path))
        if self._is_silent or key in self._known:
            return
        row = (*key, _in_one_line(video.cause), str(step))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # One call writes the whole row: a killed process leaves all of it or nothing.
        with naming_failures(self._path), self._path.open("ab", buffering=0) as file:
            file.write(_to_csv([row] if file.tell() else [_HEADER, row]))
            os.fsync(file.fileno())
        self._known.add(key)


def _read_rows(path: Path) -> list[list[str]]:
    """Return the rows without the header, and remove an incomplete last row from the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        atomic_write_bytes(path, whole)
    text = whole.decode("utf-8", errors="surrogateescape")
    rows = list(csv.reader(text.split("\n")))
    return [row for row in rows[1:] if len(row) == len(_HEADER)]


def _to_csv(rows: Sequence[Sequence[str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    # Paths keep the bytes of the file system, which need not be valid UTF-8.
    return stream.getvalue().encode("utf-8", errors="surrogateescape")


def _in_one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")
