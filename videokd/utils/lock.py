"""Locks on folders, which end with the process that holds them, however that ends."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_NAME = "lock"


@contextmanager
def lock_folder(folder: Path) -> Iterator[str | None]:
    """Lock a folder while the body runs.

    The kernel holds the lock (flock on ``folder/lock``, a file that stays) and lets go of it when
    the process ends, kill -9 included: nothing is ever left over to be deleted by hand. On NFS it
    holds between machines where both mount it with locking, as Linux does by default; mounted with
    ``nolock`` or ``local_lock=flock`` it holds within each machine only.

    Args:
        folder: Made when missing.

    Yields:
        None when the lock is held; else who holds it already: "process 12 on host7 since 10:00".

    Raises:
        OSError: The folder cannot be made or written, or its file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Not truncated on opening: the words of the holder are wanted when there is one.
    handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    with os.fdopen(handle, "r+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _read_holder(file.read())
            return
        _write_holder(handle)
        yield None


def _write_holder(handle: int) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    data = (json.dumps(holder) + "\n").encode()
    # A full disk does not keep a run from going on; what a second one is told is poorer then.
    with suppress(OSError):
        os.pwrite(handle, data, 0)
        os.ftruncate(handle, len(data))


def _read_holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
