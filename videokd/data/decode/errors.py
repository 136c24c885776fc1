"""What decoder libraries throw, as VideoError."""

from collections.abc import Iterator
from contextlib import contextmanager

from videokd.utils.errors import VideoError

_MAX_CAUSE_LENGTH = 200


@contextmanager
def library_errors(path: str) -> Iterator[None]:
    """Turn every error of a decoder library into VideoError; an index out of range stays one."""
    try:
        yield
    except VideoError:
        raise
    except Exception as error:  # decord's own error derives from nothing narrower.
        raise VideoError(path, short_cause(error)) from error


def short_cause(error: Exception) -> str:
    """Say in one line what a library's error is about."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    # decord puts clock times and places in its own source before what went wrong.
    return str(text).strip().splitlines()[0].rpartition("] ")[2][:_MAX_CAUSE_LENGTH]
