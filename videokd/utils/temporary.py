"""Files that are written beside their place, and are nobody's once their process has gone.

Each is locked while its process works on it, and the kernel lets go of locks when a process ends,
``kill -9`` included: what is not locked was left behind.
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
    """Make an empty file in the folder of ``path``, for the body to write, and to rename.

    It is ``.NAME.tmp``, and takes the place of one that a killed process left: of such files there
    is one at most, until the same file is written again. While another process or thread writes the
    same file, or where the file system has no locks, it is ``.NAME.`` and eight letters.

    Args:
        path: What it is to become. Its folder is made when missing.

    Yields:
        The file, and where it is. It is deleted when the body fails before it has another name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, place = _open_usual(path) or _open_another(path)
    with os.fdopen(handle, "wb") as file:
        try:
            yield file, place
        except BaseException:
            # While it is locked; after it was renamed, the name may be another's.
            if _has_name(handle, place):
                place.unlink()
            raise


def remove_leftovers(path: Path) -> None:
    """Delete what processes that are gone left of ``temporary_beside(path)``."""
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
        # No locks here: nobody works on a file of this name.
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
            # No locks here: then nobody takes it for a leftover either.
            return handle, place
        os.close(handle)


def _is_ours(handle: int, place: Path) -> bool:
    """Lock a file; say whether that was possible, and it has not lost its name meanwhile.

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
