"""Errors that all packages of videokd raise. This module imports no other module of videokd."""


class InputError(ValueError):
    """Error in the user's input, such as a config key, folder, annotation row or checkpoint.

    The message is one line that states the error, the value, the allowed values and the remedy. The
    tools print it without a traceback and exit with code 2.
    """


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra of setup.cfg, for messages."""
    # Installs from this checkout, because the project does not own its name on PyPI.
    return f"run pip install -e '.[{extra}]' in the folder of videokd"


class VideoError(RuntimeError):
    """Error for one unusable video.

    Training skips and counts the video, and does not replace it by another one.

    Args:
        path: Path of the video as given by the user.
        cause: Short cause, such as "no video stream" or "frame 12 cannot be decoded".
    """

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(path, cause)
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.path}: {self.cause}"


class ReadError(VideoError):
    """Error while reading a video file: disk, network or permissions failed, not the video.

    The video may be intact. It is tried again and never recorded as unusable.
    """


class RunError(RuntimeError):
    """Error that stops a run and is caused neither by wrong input nor by a defect.

    Examples are too many unreadable videos and a non-finite loss. The message states the
    observation and a remedy. The tools print it without a traceback and exit with code 1.
    """
