"""What a worker of the bomb run does: read a few frames and say what that took."""

import resource
import time
from dataclasses import dataclass

from videokd.data.decode import open_video
from videokd.utils.errors import VideoError

_KIB_PER_MIB = 1024  # ru_maxrss is in KiB on Linux


@dataclass(frozen=True)
class Cost:
    cause: str
    """Why the file was refused; "" when it was read."""
    num_frames: int
    seconds: float
    grown_mib: float
    """By how much the largest memory of the process so far was exceeded."""


def measure(item: tuple[str, str]) -> Cost:
    """Open a file with a backend, and read its first and last frame at 32 pixels."""
    path, backend = item
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cause, num_frames = "", 0
    try:
        with open_video(path, backend=backend) as video:
            num_frames = video.num_frames
            video.get_frames([0, num_frames - 1], short_side=32)
    except VideoError as error:
        cause = error.cause
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Cost(cause, num_frames, time.perf_counter() - start, grown / _KIB_PER_MIB)
