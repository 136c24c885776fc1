"""Temporal segments: one frame from each of T equal parts of a video (TSN, Wang et al. 2016).

Segment t of a video of N frames is [t * N / T, (t + 1) * N / T) on a scale where frame n fills
[n, n + 1). A border may divide a frame, and with fewer frames than segments neighbouring segments
share a frame. No segment is empty, so no rule for short videos is needed.
"""

import numpy as np
from numpy.typing import NDArray

from videokd.data.sampling.clips import check_positive, spread_to_ends


def random_segment_frames(
    num_video_frames: int, *, num_frames: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw one frame from each segment: floor((t + u_t) * N / T), each u_t uniform in [0, 1).

    Over all segments every frame of the video is equally likely.

    Args:
        num_video_frames: N, > 0.
        num_frames: T, number of segments and of frames drawn, > 0.
        rng: Source of all randomness.

    Returns:
        (num_frames,) int64, not decreasing.

    Raises:
        InputError: a number is not positive.
    """
    check_positive(num_video_frames=num_video_frames, num_frames=num_frames)
    places = (np.arange(num_frames) + rng.random(num_frames)) * num_video_frames / num_frames
    # Rounding may move an offset just below 1 past the last frame.
    return np.minimum(places.astype(np.int64), num_video_frames - 1)


def central_segment_frames(
    num_video_frames: int, *, num_clips: int, num_frames: int
) -> NDArray[np.int64]:
    """Return test clips from inside the segments: clip k at (k + 1/2) / num_clips of each segment.

    A single clip takes the centres, floor((t + 1/2) * N / T), as in TSN's own test and in MMAction2
    for clips of one frame, where T is called num_clips.

    Returns:
        (num_clips, num_frames) int64, not decreasing in both directions.

    Raises:
        InputError: a number is not positive.
    """
    check_positive(num_video_frames=num_video_frames, num_clips=num_clips, num_frames=num_frames)
    clips = [
        [
            (2 * (num_clips * t + k) + 1) * num_video_frames // (2 * num_clips * num_frames)
            for t in range(num_frames)
        ]
        for k in range(num_clips)
    ]
    return np.array(clips, dtype=np.int64)


def end_inclusive_segment_frames(
    num_video_frames: int, *, num_clips: int, num_frames: int
) -> NDArray[np.int64]:
    """Return test clips evenly spread from each segment's first to its last frame, half to even.

    A single clip takes the centres, as in `central_segment_frames`.

    Returns:
        (num_clips, num_frames) int64, not decreasing in both directions.

    Raises:
        InputError: a number is not positive.
    """
    check_positive(num_video_frames=num_video_frames, num_clips=num_clips, num_frames=num_frames)
    if num_clips == 1:
        return central_segment_frames(num_video_frames, num_clips=1, num_frames=num_frames)
    segments = [_segment_ends(t, num_frames, num_video_frames) for t in range(num_frames)]
    clips = [
        [first + spread_to_ends(k, num_clips, last - first) for first, last in segments]
        for k in range(num_clips)
    ]
    return np.array(clips, dtype=np.int64)


def _segment_ends(t: int, num_segments: int, num_video_frames: int) -> tuple[int, int]:
    """Return the first and the last frame that lie at least partly in a segment."""
    first = t * num_video_frames // num_segments
    end = -(-(t + 1) * num_video_frames // num_segments)
    return first, end - 1
