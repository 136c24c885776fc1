"""Frames of clips: equally spaced from a start, or one from each segment of a video.

An equally spaced clip is `num_frames` frames, `sampling_rate` source frames apart; it spans
(num_frames - 1) * sampling_rate + 1 source frames. For a shorter video, the clip is the centres of
segments, or the last frame is repeated, or the video is looped.

Segment t of a video of N frames is [t * N / T, (t + 1) * N / T) on a scale where frame n fills
[n, n + 1). A border may divide a frame, and with fewer frames than segments neighbouring segments
share a frame. No segment is empty, so no rule for short videos is needed.
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


def spread_clip_frame_indices(
    start: int, num_video_frames: int, *, num_frames: int, sampling_rate: int
) -> NDArray[np.int64]:
    """Return the source frames of a clip; those at the segments' centres if the video is shorter.

    Args:
        start: First frame, 0 .. num_video_frames - 1; 0 if the video is shorter than the clip.
        num_video_frames: Frames in the video, > 0.
        num_frames: Frames in the clip, > 0.
        sampling_rate: Source frames from one frame of the clip to the next, > 0.

    Returns:
        (num_frames,) int64, not decreasing.

    Raises:
        InputError: a number is not positive or start is not a frame of the video.
    """
    indices = _unbounded_indices(start, num_video_frames, num_frames, sampling_rate)
    if indices[-1] < num_video_frames:
        return indices
    return central_segment_frames(num_video_frames, num_clips=1, num_frames=num_frames)[0]


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


def _segment_ends(t: int, num_segments: int, num_video_frames: int) -> tuple[int, int]:
    """Return the first and the last frame that lie at least partly in a segment."""
    first = t * num_video_frames // num_segments
    end = -(-(t + 1) * num_video_frames // num_segments)
    return first, end - 1


def _unbounded_indices(
    start: int, num_video_frames: int, num_frames: int, sampling_rate: int
) -> NDArray[np.int64]:
    check_positive(
        num_video_frames=num_video_frames, num_frames=num_frames, sampling_rate=sampling_rate
    )
    if not 0 <= start < num_video_frames:
        raise InputError(f"clip start must be 0 .. {num_video_frames - 1}, got {start}")
    return start + sampling_rate * np.arange(num_frames, dtype=np.int64)
