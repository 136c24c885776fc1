"""Errors that every package may raise. No module of videokd is imported here."""


class InputError(ValueError):
    """The user's input is wrong: a config key, a folder, an annotation row, a checkpoint.

    The message is one line: what is wrong, the value, what is allowed, what to do. The tools
    print it without a traceback and exit with code 2.
    """


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra of setup.cfg, for messages."""
    # Of this checkout: the project does not own its name on PyPI.
    return f"run pip install -e '.[{extra}]' in the folder of videokd"


class VideoError(RuntimeError):
    """One video cannot be used. Training skips and counts it; it never becomes another video.

    Args:
        path: The video, as the user named it.
        cause: A few words: "no video stream", "frame 12 cannot be decoded".
    """

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(path, cause)
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.path}: {self.cause}"


class ReadError(VideoError):
    """A file could not be read: the disk, the network or a right failed, not the video.

    Nothing is known about the video then: it is tried again and never recorded as unusable.
    """


class RunError(RuntimeError):
    """A run cannot go on, for a reason that is neither the user's input nor a defect.

    Too many unreadable videos, a loss that is not finite. The message says what was seen and what
    to try. The tools print it without a traceback and exit with code 1.
    """
