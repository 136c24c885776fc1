"""Folder locks that the kernel releases when their process ends."""

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

    The lock is a flock on ``folder/lock``, a file that is kept. The kernel releases it when the
    process ends, even by kill -9, so that no stale lock has to be deleted. On NFS the lock works
    between machines that mount the folder with locking, the default of Linux; with ``nolock`` or
    ``local_lock=flock`` it works only within each machine.

    Args:
        folder: Folder to lock; created if missing.

    Yields:
        None if the lock was acquired, else its holder: "process 12 on host7 since 10:00".

    Raises:
        OSError: The folder cannot be created or written, or its file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Open without truncation to keep the text of a current holder.
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
    # A full disk should not stop the run; only the message for a second process has less detail.
    with suppress(OSError):
        os.pwrite(handle, data, 0)
        os.ftruncate(handle, len(data))


def _read_holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
