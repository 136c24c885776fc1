"""Classification of decoder errors: caused by the file's content, or by the machine."""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import av

from videokd.utils.errors import ReadError, VideoError

Result = TypeVar("Result")

_MAX_CAUSE_LENGTH = 200
# A network disk that returned an error often works again shortly after.
_SEC_BEFORE_RETRY = 0.5
# Errors about a name, which are the same at the second attempt.
_NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


@contextmanager
def library_errors(path: str) -> Iterator[None]:
    """Convert a decoder library's errors to VideoError, and system errors to ReadError.

    MemoryError is not converted, since a lack of memory says nothing about the file.
    """
    try:
        yield
    except (VideoError, MemoryError):
        raise
    except Exception as error:  # decord's error has no narrower base class.
        if _is_failed_read(error):
            raise ReadError(
                path, f"{short_cause(error)} (from the system, not the file)"
            ) from error
        raise VideoError(path, short_cause(error)) from error


@contextmanager
def ignore_damage() -> Iterator[None]:
    """Suppress FFmpeg's errors about a file's content; raise OSError and MemoryError."""
    try:
        yield
    except av.FFmpegError as error:
        raise_machine_failure(error)


def raise_machine_failure(error: av.FFmpegError) -> None:
    """Raise OSError or MemoryError for an error of FFmpeg that says nothing about the file.

    These are Python's own exceptions, so that no handler of av.FFmpegError takes them for damage.
    """
    if isinstance(error, MemoryError):
        raise MemoryError(short_cause(error)) from error
    if _is_failed_read(error):
        raise OSError(error.errno, short_cause(error)) from error


def retry_read(read: Callable[[], Result]) -> Result:
    """Return the result of a function; call it a second time after ReadError.

    A missing file is not tried again: a list may name thousands of them.
    """
    try:
        return read()
    except ReadError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_SUCH_FILE:
            raise
        time.sleep(_SEC_BEFORE_RETRY)
        return read()


def short_cause(error: Exception) -> str:
    """Return a one-line description of a library's error."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    # decord puts timestamps and source locations before the message.
    return str(text).strip().splitlines()[0].rpartition("] ")[2][:_MAX_CAUSE_LENGTH]


def _is_failed_read(error: Exception) -> bool:
    # FFmpeg's functions return -1 (EPERM) for a failed seek or parser. Reading a file that is
    # already open never fails with EPERM.
    return isinstance(error, OSError) and error.errno != errno.EPERM
