"""Files that are either whole or absent, and their hashes."""

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
    """Write ``data`` so that a reader sees the old file or the new one, never a part.

    The bytes go to a temporary file beside ``path``, are flushed to disk, and replace it.

    Args:
        path: Target; its folder is made when missing.
        data: The whole content.
    """
    try:
        with temporary_beside(path) as (file, place):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(place, path)
    except OSError as error:
        # A full disk does not say for which file. An error without a number has nowhere to say it.
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def atomic_write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 with ``atomic_write_bytes``."""
    atomic_write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinity are refused."""
    atomic_write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a header and rows as CSV, atomically; names of files need not be UTF-8."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([columns, *rows])
    atomic_write_bytes(path, buffer.getvalue().encode("utf-8", "surrogateescape"))


def read_json(path: Path) -> Any:
    """Read a JSON file written by ``write_json``."""
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
    """Wait until a file, or the names in a folder, are on disk.

    A rename can reach the disk before what was written: after a power cut the name would be there
    and the content not.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
