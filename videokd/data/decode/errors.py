"""Errors of decoder libraries, told apart: the file's content, or the machine that reads it."""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import av

from videokd.utils.errors import ReadError, VideoError

Result = TypeVar("Result")

_MAX_CAUSE_LENGTH = 200
# A network disk that answered with an error often answers again at once.
_SEC_BEFORE_RETRY = 0.5


@contextmanager
def library_errors(path: str) -> Iterator[None]:
    """Turn the errors of a decoder library into VideoError, those of the system into ReadError.

    MemoryError passes as it is: the machine lacks memory, which says nothing about the file.
    """
    try:
        yield
    except (VideoError, MemoryError):
        raise
    except Exception as error:  # decord's own error derives from nothing narrower.
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

    They are Python's own, so that no handler of av.FFmpegError takes them for damage.
    """
    if isinstance(error, MemoryError):
        raise MemoryError(short_cause(error)) from error
    if _is_failed_read(error):
        raise OSError(error.errno, short_cause(error)) from error


def retry_read(read: Callable[[], Result]) -> Result:
    """Return what a function returns; call it a second time after ReadError."""
    try:
        return read()
    except ReadError:
        time.sleep(_SEC_BEFORE_RETRY)
        return read()


def short_cause(error: Exception) -> str:
    """Return one line about a library's error."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    # decord puts clock times and places in its own source before what went wrong.
    return str(text).strip().splitlines()[0].rpartition("] ")[2][:_MAX_CAUSE_LENGTH]


def _is_failed_read(error: Exception) -> bool:
    # FFmpeg's own functions return -1, which is EPERM, for a seek or a parser that failed. Reading
    # a file that is open already never fails with it.
    return isinstance(error, OSError) and error.errno != errno.EPERM
