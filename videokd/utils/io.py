"""Atomic file writing, and hashes of files."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from videokd.utils.temporary import temporary_beside


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees either the old or the new file, never a part.

    The bytes are written to a temporary file next to ``path`` and flushed to disk; then the
    temporary file replaces ``path``.

    Args:
        path: Target; its folder is created if missing.
        data: Whole content of the file.
    """
    try:
        with temporary_beside(path) as (file, place):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(place, path)
    except OSError as error:
        # The error of a full disk has no file name, so add it. An OSError without errno does not
        # show a file name.
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def atomic_write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 with ``atomic_write_bytes``."""
    atomic_write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity raise ValueError."""
    atomic_write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a header and rows as CSV, atomically; file names in rows need not be UTF-8."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([columns, *rows])
    atomic_write_bytes(path, buffer.getvalue().encode("utf-8", "surrogateescape"))


def read_json(path: Path) -> Any:
    """Return the content of a JSON file written by ``write_json``."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the file's bytes as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of ``value`` written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk.

    Without this, a rename can reach the disk before the content, so that a file is empty after a
    power cut.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
