"""Temporal sampling of clips from a video, for training and test."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videokd.data.sampling.clips import (
    central_segment_frames,
    check_positive,
    clip_frame_indices,
    end_inclusive_clip_starts,
    end_inclusive_segment_frames,
    looped_clip_frame_indices,
    random_clip_start,
    random_segment_frames,
    spread_clip_frame_indices,
    uniform_clip_starts,
)
from videokd.data.sampling.resampling import count_resampled_frames, find_resampled_frames
from videokd.utils.errors import InputError

DENSE = "dense"
"""Frames sampling_rate apart from a start anywhere in the video."""
SEGMENTS = "segments"
"""One frame of each of num_frames equal parts of the video."""
NON_LOCAL = "non_local"
"""Frames spread over a window of non_local_window frames anywhere in the video."""
KINDS = (DENSE, SEGMENTS, NON_LOCAL)

SPREAD = "spread"
"""A short video gives the centre of each of num_frames equal parts."""
CLAMP = "clamp"
"""A short video repeats its last frame."""
LOOP = "loop"
"""A short video starts again at its first frame."""
SHORT_VIDEO_RULES = (SPREAD, CLAMP, LOOP)

SEGMENT_CENTRES = "segment_centres"
"""Test clips lie at the centres of equal segments of the video."""
END_INCLUSIVE = "end_inclusive"
"""The first test clip starts with the video and the last one ends with it."""
TEST_RULES = (SEGMENT_CENTRES, END_INCLUSIVE)

_FRAME_INDICES = {
    SPREAD: spread_clip_frame_indices,
    CLAMP: clip_frame_indices,
    LOOP: looped_clip_frame_indices,
}
_TEST_STARTS = {
    SEGMENT_CENTRES: uniform_clip_starts,
    END_INCLUSIVE: end_inclusive_clip_starts,
}
_TEST_SEGMENT_FRAMES = {
    SEGMENT_CENTRES: central_segment_frames,
    END_INCLUSIVE: end_inclusive_segment_frames,
}


@dataclass(frozen=True, slots=True)
class TemporalSampling:
    """Rule that selects the frames of a clip.

    - "dense": frames start + t * sampling_rate; start is uniform over all starts whose clip fits.
    - "segments": see `clips`; sampling_rate and short_video are not used.
    - "non_local": frames start + t * (non_local_window // num_frames); start is uniform over 0 ..
      num_video_frames - non_local_window, 0 for shorter videos. It corresponds to MMAction2's
      DenseSampleFrames (there `sample_range`, and always "loop"), after Wang et al. 2018, who keep
      8 or 32 of 64 consecutive frames. DenseSampleFrames never draws the last start; this rule
      does.

    Args:
        num_frames: Frames in a clip, > 0.
        sampling_rate: Step between frames of a "dense" clip, > 0.
        kind: "dense", "segments" or "non_local".
        target_fps: If > 0, all frame counts refer to the video resampled to this rate (see
            `resampling`), so that a clip lasts as many seconds in every video. 0.0 counts the
            video's own frames.
        short_video: Rule for videos shorter than the clip, "spread", "clamp" or "loop".
        non_local_window: Frames that a "non_local" clip is spread over, >= num_frames.

    Raises:
        InputError: a value is not allowed.
    """

    num_frames: int
    sampling_rate: int = 1
    kind: str = DENSE
    target_fps: float = 0.0
    short_video: str = SPREAD
    non_local_window: int = 64

    def __post_init__(self) -> None:
        check_positive(num_frames=self.num_frames, sampling_rate=self.sampling_rate)
        _check_choice("kind", self.kind, KINDS)
        _check_choice("short_video", self.short_video, SHORT_VIDEO_RULES)
        if not (math.isfinite(self.target_fps) and self.target_fps >= 0):
            raise InputError(
                f"target_fps must be >= 0 (0 = frames as they are), got {self.target_fps}"
            )
        if self.kind == NON_LOCAL and self.non_local_window < self.num_frames:
            raise InputError(
                f"non_local_window must be >= num_frames {self.num_frames}, "
                f"got {self.non_local_window}"
            )

    def draw_segments(
        self,
        num_video_frames: int,
        *,
        rng: np.random.Generator,
        times: NDArray[np.float64] | None = None,
    ) -> NDArray[np.int64]:
        """Draw the frames of a training clip; for "segments".

        Args:
            num_video_frames: Frames in the video, > 0.
            rng: Source of all randomness.
            times: (num_video_frames,) float64, display times of the frames in seconds; required
                with target_fps, ignored without.

        Returns:
            (num_frames,) int64, source frames 0 .. num_video_frames - 1, not decreasing.

        Raises:
            InputError: a number is not positive, or times are missing or wrong.
        """
        length = self.count_frames(num_video_frames, times=times)
        clip = random_segment_frames(length, num_frames=self.num_frames, rng=rng)
        return self._to_source(clip, times)

    def test_segments(
        self,
        num_video_frames: int,
        *,
        num_clips: int,
        rule: str,
        times: NDArray[np.float64] | None = None,
    ) -> NDArray[np.int64]:
        """Return the frames of test clips; for "segments".

        Args:
            num_video_frames: Frames in the video, > 0.
            num_clips: Clips of this video, > 0.
            rule: "segment_centres" or "end_inclusive", see `central_segment_frames` and
                `end_inclusive_segment_frames`.
            times: Same as for `draw_segments`.

        Returns:
            (num_clips, num_frames) int64, rows as from `draw_segments`.

        Raises:
            InputError: same as for `draw_segments`, or the rule is unknown.
        """
        _check_choice("rule", rule, TEST_RULES)
        length = self.count_frames(num_video_frames, times=times)
        frames = _TEST_SEGMENT_FRAMES[rule]
        return self._to_source(
            frames(length, num_clips=num_clips, num_frames=self.num_frames), times
        )

    def draw_start(self, length: int, *, rng: np.random.Generator) -> int:
        """Draw the start of a training clip's window; not for "segments".

        Args:
            length: Number of frames from `count_frames`.
            rng: Source of all randomness.
        """
        # The start of a window has the same distribution as that of a clip of all its frames.
        window = self.num_window_frames
        return random_clip_start(length, num_frames=window, sampling_rate=1, rng=rng)

    def test_starts(self, length: int, *, num_clips: int, rule: str) -> list[int]:
        """Return the starts of test clips' windows, spread over the video; not for "segments".

        Args:
            length: Number of frames from `count_frames`.
            num_clips: Clips of this video, > 0.
            rule: "segment_centres" or "end_inclusive", see `uniform_clip_starts` and
                `end_inclusive_clip_starts`.

        Raises:
            InputError: the number is not positive, or the rule is unknown.
        """
        _check_choice("rule", rule, TEST_RULES)
        window = self.num_window_frames
        return _TEST_STARTS[rule](length, num_clips=num_clips, num_frames=window, sampling_rate=1)

    def frames_from(
        self, start: int, length: int, *, times: NDArray[np.float64] | None = None
    ) -> NDArray[np.int64]:
        """Return the frames of the clip whose window starts at a frame; not for "segments".

        Args:
            start: Start of the window, 0 .. length - 1.
            length: Number of frames from `count_frames`.
            times: Same as for `draw_segments`.

        Returns:
            (num_frames,) int64, source frames; they do not decrease except where a short video
            loops.
        """
        is_dense = self.kind == DENSE
        step = self.sampling_rate if is_dense else self.non_local_window // self.num_frames
        clip = _FRAME_INDICES[self.short_video](
            start, length, num_frames=self.num_frames, sampling_rate=step
        )
        return self._to_source(clip, times)

    def count_frames(
        self, num_video_frames: int, *, times: NDArray[np.float64] | None = None
    ) -> int:
        """Return the number of frames that windows are counted in, resampled if target_fps is set.

        Args:
            num_video_frames: Frames in the video, > 0.
            times: Same as for `draw_segments`.

        Raises:
            InputError: the number is not positive, or times are missing or wrong.
        """
        check_positive(num_video_frames=num_video_frames)
        if not self.target_fps:
            return num_video_frames
        if times is None or times.shape != (num_video_frames,):
            shape = "none" if times is None else f"shape {times.shape}"
            raise InputError(
                f"target_fps needs the times of all {num_video_frames} frames, got {shape}"
            )
        return count_resampled_frames(times, target_fps=self.target_fps)

    @property
    def num_window_frames(self) -> int:
        """Number of frames that a clip's window spans; not for "segments"."""
        if self.kind == NON_LOCAL:
            return self.non_local_window
        return (self.num_frames - 1) * self.sampling_rate + 1

    def _to_source(
        self, clips: NDArray[np.int64], times: NDArray[np.float64] | None
    ) -> NDArray[np.int64]:
        if not self.target_fps or times is None:
            return clips
        return find_resampled_frames(clips, times=times, target_fps=self.target_fps)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Check that the value is one of the allowed ones; raise InputError otherwise."""
    if value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
