"""Temporary files next to their target, with locks that identify leftovers of ended processes.

A process locks its temporary file while it writes. The kernel releases locks when a process ends,
even by ``kill -9``, so that an unlocked temporary file is a leftover.
"""

import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def temporary_beside(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Create an empty file in the folder of ``path``, which the body writes and renames.

    The file is ``.NAME.tmp`` and reuses a leftover of a killed process, so that at most one
    leftover exists. If another process or thread is writing the same target, or the file system has
    no locks, the file is ``.NAME.`` followed by eight hexadecimal digits.

    Args:
        path: Final path of the file; its folder is created if missing.

    Yields:
        The open file and its path. The file is deleted if the body raises before renaming it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, place = _open_usual(path) or _open_another(path)
    with os.fdopen(handle, "wb") as file:
        try:
            yield file, place
        except BaseException:
            # Delete while the file is locked. After a rename the name may belong to another file.
            if _has_name(handle, place):
                place.unlink()
            raise


def remove_leftovers(path: Path) -> None:
    """Delete leftovers of ``temporary_beside(path)`` from ended processes."""
    for place in path.parent.glob(f".{glob.escape(path.name)}.*"):
        try:
            handle = os.open(place, _FLAGS)
        except OSError:
            continue
        try:
            if _is_ours(handle, place):
                place.unlink(missing_ok=True)
        except OSError:
            pass
        finally:
            os.close(handle)


def _open_usual(path: Path) -> tuple[int, Path] | None:
    place = path.with_name(f".{path.name}.tmp")
    try:
        handle = os.open(place, _FLAGS | os.O_CREAT, 0o666)
    except OSError:
        return None
    try:
        if _is_ours(handle, place):
            os.ftruncate(handle, 0)
            return handle, place
    except OSError:
        # Without locks, no process uses a file of this name.
        place.unlink(missing_ok=True)
    os.close(handle)
    return None


def _open_another(path: Path) -> tuple[int, Path]:
    while True:
        place = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            handle = os.open(place, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        try:
            if _is_ours(handle, place):
                return handle, place
        except OSError:
            # Without locks, no process can mistake this file for a leftover.
            return handle, place
        os.close(handle)


def _is_ours(handle: int, place: Path) -> bool:
    """Lock a file and return whether this succeeded and the file still has its name.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return _has_name(handle, place)


def _has_name(handle: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), place.stat())
    except FileNotFoundError:
        return False
