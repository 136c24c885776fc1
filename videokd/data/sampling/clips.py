"""Clips of equally spaced frames: start positions and frame indices.

A clip is `num_frames` frames, `sampling_rate` source frames apart; it spans
(num_frames - 1) * sampling_rate + 1 source frames. For a shorter video, the last frame is repeated
or the video is looped.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from videokd.utils.errors import InputError


def random_clip_start(
    num_video_frames: int, *, num_frames: int, sampling_rate: int, rng: np.random.Generator
) -> int:
    """Draw the first frame of a clip, uniformly over all starts whose clip fits in the video.

    Returns:
        0 .. num_video_frames - span; 0 when the video is shorter than the clip.

    Raises:
        InputError: a number is not positive.
    """
    last = last_clip_start(num_video_frames, num_frames, sampling_rate)
    return int(rng.integers(0, last, endpoint=True))


def uniform_clip_starts(
    num_video_frames: int, *, num_clips: int, num_frames: int, sampling_rate: int
) -> list[int]:
    """Return the starts of test clips at the centres of equal segments of a video.

    The possible starts 0 .. last are divided into num_clips equal segments and clip k starts at the
    centre of the k-th: floor((k + 1/2) * (last + 1) / num_clips). MMAction2 0.x has the same rule,
    but counts a clip as num_frames * sampling_rate frames long.

    Returns:
        num_clips starts, not decreasing; all 0 when the video is shorter than the clip.

    Raises:
        InputError: a number is not positive.
    """
    check_positive(num_clips=num_clips)
    num_starts = last_clip_start(num_video_frames, num_frames, sampling_rate) + 1
    return [(2 * k + 1) * num_starts // (2 * num_clips) for k in range(num_clips)]


def end_inclusive_clip_starts(
    num_video_frames: int, *, num_clips: int, num_frames: int, sampling_rate: int
) -> list[int]:
    """Return the starts of test clips spread evenly from the start of a video to its end.

    For possible starts 0 .. last, clip k of K starts at k * last / (K - 1), rounded half to even; a
    single clip starts at floor(last / 2). MMAction2 1.x has the same rule for clips of more than
    one frame. PySlowFast with USE_OFFSET_SAMPLING counts a clip as num_frames * sampling_rate
    frames long and starts at k * floor(last / (K - 1)), so its last clip may end up to K - 2 frames
    early.

    Returns:
        num_clips starts, not decreasing; all 0 when the video is shorter than the clip.

    Raises:
        InputError: a number is not positive.
    """
    check_positive(num_clips=num_clips)
    last = last_clip_start(num_video_frames, num_frames, sampling_rate)
    return [spread_to_ends(k, num_clips, last) for k in range(num_clips)]


def clip_frame_indices(
    start: int, num_video_frames: int, *, num_frames: int, sampling_rate: int
) -> NDArray[np.int64]:
    """Return the source frames of a clip: min(start + t * sampling_rate, num_video_frames - 1).

    Args:
        start: First frame, 0 .. num_video_frames - 1.
        num_video_frames: Frames in the video, > 0.
        num_frames: Frames in the clip, > 0.
        sampling_rate: Source frames from one frame of the clip to the next, > 0.

    Returns:
        (num_frames,) int64, not decreasing.

    Raises:
        InputError: a number is not positive or start is not a frame of the video.
    """
    indices = _unbounded_indices(start, num_video_frames, num_frames, sampling_rate)
    return np.minimum(indices, num_video_frames - 1)


def looped_clip_frame_indices(
    start: int, num_video_frames: int, *, num_frames: int, sampling_rate: int
) -> NDArray[np.int64]:
    """Return the source frames of a clip: (start + t * sampling_rate) modulo num_video_frames.

    Args:
        start: First frame, 0 .. num_video_frames - 1.
        num_video_frames: Frames in the video, > 0.
        num_frames: Frames in the clip, > 0.
        sampling_rate: Source frames from one frame of the clip to the next, > 0.

    Returns:
        (num_frames,) int64.

    Raises:
        InputError: a number is not positive or start is not a frame of the video.
    """
    indices = _unbounded_indices(start, num_video_frames, num_frames, sampling_rate)
    return indices % num_video_frames


def last_clip_start(num_video_frames: int, num_frames: int, sampling_rate: int) -> int:
    """Compute the last start whose clip fits in the video; 0 if none does.

    Raises:
        InputError: a number is not positive.
    """
    check_positive(
        num_video_frames=num_video_frames, num_frames=num_frames, sampling_rate=sampling_rate
    )
    span = (num_frames - 1) * sampling_rate + 1
    return max(num_video_frames - span, 0)


def spread_to_ends(k: int, count: int, last: int) -> int:
    """Compute the k-th of `count` numbers spread evenly over 0 .. last, both ends included."""
    return last // 2 if count == 1 else round(Fraction(k * last, count - 1))


def check_positive(**numbers: int) -> None:
    """Check that all numbers are > 0; raise InputError otherwise."""
    for name, value in numbers.items():
        if value <= 0:
            raise InputError(f"{name} must be > 0, got {value}")


def _unbounded_indices(
    start: int, num_video_frames: int, num_frames: int, sampling_rate: int
) -> NDArray[np.int64]:
    check_positive(
        num_video_frames=num_video_frames, num_frames=num_frames, sampling_rate=sampling_rate
    )
    if not 0 <= start < num_video_frames:
        raise InputError(f"clip start must be 0 .. {num_video_frames - 1}, got {start}")
    return start + sampling_rate * np.arange(num_frames, dtype=np.int64)
