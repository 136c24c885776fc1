"""Resampling of a video to a constant frame rate.

Frame m of the resampled video is the frame that a player shows m / target_fps seconds after the
first frame: the last frame whose time is not later. So clips last equally long for variable frame
rates and for datasets of different rates. Frames are dropped or repeated, never blended. If all
frames are 1 / target_fps apart, resampling changes nothing.
"""

import math

import numpy as np
from numpy.typing import NDArray

from videokd.utils.errors import InputError

# Matroska and WebM store whole milliseconds, so a frame's time may be this much too late.
_MAX_LATE_SEC = 0.001
# Smallest share of a resampled step that must remain for its last frame.
_MIN_SHARE = 0.25


def count_resampled_frames(times: NDArray[np.float64], *, target_fps: float) -> int:
    """Count the frames of a video resampled to target_fps.

    The last frame is assumed to last as long as the average frame. A single frame, and frames that
    all have the same time, count as one frame.

    Args:
        times: (num_frames,) float64, display times of the frames, seconds, not decreasing; any
            start.
        target_fps: Frames per second of the resampled video, > 0.

    Raises:
        InputError: times are empty, not finite or decreasing, or target_fps is not positive.
    """
    _check(times, target_fps)
    if len(times) == 1:
        return 1
    duration_sec = float(times[-1] - times[0]) * len(times) / (len(times) - 1)
    return max(1, math.ceil(duration_sec * target_fps - _MIN_SHARE))


def find_resampled_frames(
    indices: NDArray[np.int64], *, times: NDArray[np.float64], target_fps: float
) -> NDArray[np.int64]:
    """Return the source frames that are shown as the given frames of the resampled video.

    A frame counts as shown up to a millisecond before its time (a quarter of a step above 250
    frames per second), since times may be rounded to whole milliseconds.

    Args:
        indices: Frames of the resampled video, >= 0, of any shape.
        times: As for `count_resampled_frames`.
        target_fps: Frames per second of the resampled video, > 0.

    Returns:
        Same shape as indices, int64, 0 .. len(times) - 1.

    Raises:
        InputError: times are empty, not finite or decreasing, or target_fps is not positive.
    """
    _check(times, target_fps)
    late_sec = min(_MAX_LATE_SEC, _MIN_SHARE / target_fps)
    instants = times[0] + indices / target_fps + late_sec
    return np.searchsorted(times, instants, side="right").astype(np.int64) - 1


def _check(times: NDArray[np.float64], target_fps: float) -> None:
    if not (math.isfinite(target_fps) and target_fps > 0):
        raise InputError(f"target_fps must be > 0, got {target_fps}")
    if len(times) == 0 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise InputError("times of frames must be finite seconds that do not decrease")
