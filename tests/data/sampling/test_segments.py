from itertools import product

import numpy as np
import pytest

from videokd.data.sampling import (
    central_segment_frames,
    end_inclusive_segment_frames,
    random_segment_frames,
)
from videokd.utils.errors import InputError

GRID = list(product([1, 2, 3, 7, 8, 9, 30], [1, 2, 3, 8]))


def frames_in_segment(t, num_segments, num_video_frames):
    """List the frames that lie in a segment, even if only in part: walk over all of them."""
    start, end = t * num_video_frames, (t + 1) * num_video_frames  # in 1 / num_segments frames
    return [
        n
        for n in range(num_video_frames)
        if (n + 1) * num_segments > start and n * num_segments < end
    ]


@pytest.mark.parametrize(
    ("num_video_frames", "expected"),
    [
        (100, [12, 37, 62, 87]),
        (10, [1, 3, 6, 8]),  # 1.25 3.75 6.25 8.75
        (4, [0, 1, 2, 3]),
        (3, [0, 1, 1, 2]),  # 0.375 1.125 1.875 2.625
        (1, [0, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("take", [central_segment_frames, end_inclusive_segment_frames])
def test_one_clip_by_hand_is_the_centres(num_video_frames, expected, take):
    clips = take(num_video_frames, num_clips=1, num_frames=4)
    assert clips.dtype == np.int64
    assert clips.tolist() == [expected]


def test_several_clips_by_hand():
    # Two segments of 10 frames: quarters of 2.5 and 7.5, ends of 0 and 9.
    centres = central_segment_frames(20, num_clips=2, num_frames=2)
    assert centres.tolist() == [[2, 12], [7, 17]]
    ends = end_inclusive_segment_frames(20, num_clips=2, num_frames=2)
    assert ends.tolist() == [[0, 10], [9, 19]]
    ends = end_inclusive_segment_frames(20, num_clips=3, num_frames=2)
    assert ends.tolist() == [[0, 10], [4, 14], [9, 19]]


@pytest.mark.parametrize("num_clips", [1, 2, 5])
def test_centres_equal_a_loop(num_clips):
    for num_video_frames, num_frames in GRID:
        clips = central_segment_frames(num_video_frames, num_clips=num_clips, num_frames=num_frames)
        for k, t in product(range(num_clips), range(num_frames)):
            # In units of 1 / (2 K T) frames, frame n fills [2 K T n, 2 K T (n + 1)).
            place = (2 * (t * num_clips + k) + 1) * num_video_frames
            unit = 2 * num_clips * num_frames
            inside = frames_in_segment(t, num_frames, num_video_frames)
            assert [clips[k, t]] == [n for n in inside if unit * n <= place < unit * (n + 1)]
        assert (np.diff(clips, axis=0) >= 0).all()
        assert (np.diff(clips, axis=1) >= 0).all()


@pytest.mark.parametrize("num_clips", [2, 3, 5])
def test_end_inclusive_clips_run_from_end_to_end_of_each_segment(num_clips):
    for num_video_frames, num_frames in GRID:
        clips = end_inclusive_segment_frames(
            num_video_frames, num_clips=num_clips, num_frames=num_frames
        )
        for t in range(num_frames):
            inside = frames_in_segment(t, num_frames, num_video_frames)
            assert (clips[0, t], clips[-1, t]) == (inside[0], inside[-1])
            steps = np.diff(clips[:, t])
            assert steps.max() - steps.min() <= 1
            assert steps.min() >= 0


def test_drawn_frames_are_all_those_of_their_segments():
    rng = np.random.default_rng(0)
    for num_video_frames, num_frames in GRID:
        drawn = np.stack(
            [
                random_segment_frames(num_video_frames, num_frames=num_frames, rng=rng)
                for _ in range(30 * num_video_frames)
            ]
        )
        assert drawn.dtype == np.int64
        assert (np.diff(drawn, axis=1) >= 0).all()
        for t in range(num_frames):
            inside = frames_in_segment(t, num_frames, num_video_frames)
            assert sorted(set(drawn[:, t])) == inside


@pytest.mark.parametrize("num_frames", [1, 3, 4, 15])
def test_every_frame_is_equally_likely(num_frames):
    rng = np.random.default_rng(0)
    drawn = [
        random_segment_frames(10, num_frames=num_frames, rng=rng)
        for _ in range(12_000 // num_frames)
    ]
    counts = np.bincount(np.concatenate(drawn), minlength=10)
    assert (np.abs(counts - 1200) < 165).all()


class _AlmostOne:
    def random(self, count):
        return np.full(count, np.nextafter(1.0, 0.0))


def test_rounding_does_not_leave_the_video():
    frames = random_segment_frames(10**15 + 1, num_frames=7, rng=_AlmostOne())
    assert frames[-1] == 10**15


def test_numbers_that_are_not_positive_are_input_errors():
    with pytest.raises(InputError, match="num_frames must be > 0, got 0"):
        random_segment_frames(5, num_frames=0, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="num_clips must be > 0, got -1"):
        central_segment_frames(5, num_clips=-1, num_frames=2)
    with pytest.raises(InputError, match="num_video_frames must be > 0, got 0"):
        end_inclusive_segment_frames(0, num_clips=2, num_frames=2)
