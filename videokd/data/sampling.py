"""Which frames and which windows: pure arithmetic on numbers of frames and pixels.

A clip is `num_frames` frames, `sampling_rate` source frames apart; it spans
(num_frames - 1) * sampling_rate + 1 source frames. A video that is shorter repeats its last frame.
"""

import numpy as np
from numpy.typing import NDArray

from videokd.utils.errors import InputError

Box = tuple[int, int, int, int]


def random_clip_start(
    num_video_frames: int, *, num_frames: int, sampling_rate: int, rng: np.random.Generator
) -> int:
    """Draw the first frame of a clip, uniformly over all starts whose clip fits in the video.

    Returns:
        0 .. num_video_frames - span; 0 when the video is shorter than the clip.

    Raises:
        InputError: a number is not positive.
    """
    last = _last_start(num_video_frames, num_frames, sampling_rate)
    return int(rng.integers(0, last, endpoint=True))


def clip_frame_indices(
    start: int, num_video_frames: int, *, num_frames: int, sampling_rate: int
) -> NDArray[np.int64]:
    """List the source frames of a clip: min(start + t * sampling_rate, num_video_frames - 1).

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
    _last_start(num_video_frames, num_frames, sampling_rate)
    if not 0 <= start < num_video_frames:
        raise InputError(f"clip start must be 0 .. {num_video_frames - 1}, got {start}")
    indices = start + sampling_rate * np.arange(num_frames, dtype=np.int64)
    return np.minimum(indices, num_video_frames - 1)


def uniform_clip_starts(
    num_video_frames: int, *, num_clips: int, num_frames: int, sampling_rate: int
) -> list[int]:
    """Spread the clips of a test evenly over a video.

    The possible starts 0 .. last are cut into num_clips equal segments and clip k starts at the
    centre of the k-th: floor((k + 1/2) * (last + 1) / num_clips). This is what MMAction2's dense
    test sampling computes from avg_interval. PySlowFast differs: its first clip starts at 0 and
    its last one ends with the video.

    Returns:
        num_clips starts, not decreasing; all 0 when the video is shorter than the clip.

    Raises:
        InputError: a number is not positive.
    """
    if num_clips <= 0:
        raise InputError(f"num_clips must be > 0, got {num_clips}")
    num_starts = _last_start(num_video_frames, num_frames, sampling_rate) + 1
    return [(2 * k + 1) * num_starts // (2 * num_clips) for k in range(num_clips)]


def uniform_crop_boxes(height: int, width: int, *, size: int, num_crops: int) -> list[Box]:
    """Place the crops of a test on a frame whose short side has been scaled already.

    One crop lies in the centre; three lie at the start, the centre and the end of the long side,
    centred on the short one. Crops are squares of `size` pixels, or of the short side when the
    frame is smaller than that.

    Returns:
        num_crops boxes (top, left, height, width) in pixels.

    Raises:
        InputError: num_crops is not 1 or 3, or a number is not positive.
    """
    if num_crops not in (1, 3):
        raise InputError(f"num_crops must be 1 or 3, got {num_crops}")
    if min(height, width, size) <= 0:
        raise InputError(f"height, width and size must be > 0, got {height}, {width}, {size}")
    side = min(size, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    if num_crops == 1:
        return [(top, left, side, side)]
    if width >= height:
        return [(top, x, side, side) for x in (0, left, width - side)]
    return [(y, left, side, side) for y in (0, top, height - side)]


def _last_start(num_video_frames: int, num_frames: int, sampling_rate: int) -> int:
    for name, value in (
        ("num_video_frames", num_video_frames),
        ("num_frames", num_frames),
        ("sampling_rate", sampling_rate),
    ):
        if value <= 0:
            raise InputError(f"{name} must be > 0, got {value}")
    span = (num_frames - 1) * sampling_rate + 1
    return max(num_video_frames - span, 0)
