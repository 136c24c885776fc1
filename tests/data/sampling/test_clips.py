from itertools import product

import numpy as np
import pytest

from videokd.data.sampling.clips import (
    central_segment_frames,
    clip_frame_indices,
    end_inclusive_clip_starts,
    end_inclusive_segment_frames,
    looped_clip_frame_indices,
    random_clip_start,
    random_segment_frames,
    spread_clip_frame_indices,
    uniform_clip_starts,
)
from videokd.utils.errors import InputError

GRID = [
    (num_video_frames, {"num_frames": num_frames, "sampling_rate": sampling_rate})
    for num_video_frames, num_frames, sampling_rate in product(
        [1, 2, 7, 8, 9, 30, 31], [1, 2, 8], [1, 3, 4]
    )
]
SEGMENT_GRID = list(product([1, 2, 3, 7, 8, 9, 30], [1, 2, 3, 8]))


def make_rng():
    return np.random.default_rng(0)


def last_start(num_video_frames, num_frames, sampling_rate):
    """Count upwards while the next clip still fits."""
    last = 0
    while last + 1 + (num_frames - 1) * sampling_rate < num_video_frames:
        last += 1
    return last


@pytest.mark.parametrize(
    ("start", "num_video_frames", "expected"),
    [
        (0, 100, [0, 3, 6, 9]),
        (90, 100, [90, 93, 96, 99]),
        (0, 10, [0, 3, 6, 9]),
        (0, 9, [0, 3, 6, 8]),
        (0, 1, [0, 0, 0, 0]),
        (95, 100, [95, 98, 99, 99]),
    ],
)
def test_clip_frame_indices_that_clamp_by_hand(start, num_video_frames, expected):
    indices = clip_frame_indices(start, num_video_frames, num_frames=4, sampling_rate=3)
    assert indices.dtype == np.int64
    assert indices.tolist() == expected


@pytest.mark.parametrize(
    ("start", "num_video_frames", "expected"),
    [
        (0, 100, [0, 3, 6, 9]),
        (0, 9, [0, 3, 6, 0]),
        (0, 1, [0, 0, 0, 0]),
        (0, 2, [0, 1, 0, 1]),
        (95, 100, [95, 98, 1, 4]),
    ],
)
def test_clip_frame_indices_that_loop_by_hand(start, num_video_frames, expected):
    indices = looped_clip_frame_indices(start, num_video_frames, num_frames=4, sampling_rate=3)
    assert indices.dtype == np.int64
    assert indices.tolist() == expected


@pytest.mark.parametrize(
    ("start", "num_video_frames", "expected"),
    [
        (90, 100, [90, 93, 96, 99]),
        (0, 10, [0, 3, 6, 9]),
        (0, 9, [1, 3, 5, 7]),
        (0, 2, [0, 0, 1, 1]),
        (0, 1, [0, 0, 0, 0]),
    ],
)
def test_clip_frame_indices_that_spread_by_hand(start, num_video_frames, expected):
    indices = spread_clip_frame_indices(start, num_video_frames, num_frames=4, sampling_rate=3)
    assert indices.dtype == np.int64
    assert indices.tolist() == expected


@pytest.mark.parametrize("loops", [False, True])
def test_frame_indices_equal_a_walk_over_the_video(loops):
    frame_indices = looped_clip_frame_indices if loops else clip_frame_indices
    for num_video_frames, shape in GRID:
        for start in range(num_video_frames):
            expected = [start]
            while len(expected) < shape["num_frames"]:
                index = expected[-1]
                for _ in range(shape["sampling_rate"]):
                    at_end = index == num_video_frames - 1
                    index = (0 if loops else index) if at_end else index + 1
                expected.append(index)
            assert frame_indices(start, num_video_frames, **shape).tolist() == expected


def test_random_starts_are_all_those_whose_clip_fits():
    rng = make_rng()
    for num_video_frames, shape in GRID:
        fitting = list(range(last_start(num_video_frames, **shape) + 1))
        drawn = {
            random_clip_start(num_video_frames, **shape, rng=rng) for _ in range(20 * len(fitting))
        }
        assert sorted(drawn) == fitting


def test_random_starts_are_equally_likely():
    rng = make_rng()
    drawn = [random_clip_start(14, num_frames=2, sampling_rate=4, rng=rng) for _ in range(10_000)]
    # 10 starts, 1000 draws each; 5 standard deviations are 150.
    assert (np.abs(np.bincount(drawn, minlength=10) - 1000) < 150).all()


@pytest.mark.parametrize(
    ("num_video_frames", "num_clips", "expected"),
    [
        # 4 frames 3 apart span 10: starts 0 .. 90 for 100 frames.
        (100, 1, [45]),
        (100, 2, [22, 68]),
        (100, 3, [15, 45, 75]),
        (10, 3, [0, 0, 0]),
        (5, 2, [0, 0]),
        (11, 2, [0, 1]),
    ],
)
def test_segment_centres_by_hand(num_video_frames, num_clips, expected):
    starts = uniform_clip_starts(
        num_video_frames, num_clips=num_clips, num_frames=4, sampling_rate=3
    )
    assert starts == expected


@pytest.mark.parametrize(
    ("num_video_frames", "num_clips", "expected"),
    [
        (100, 1, [45]),
        (100, 2, [0, 90]),
        (100, 3, [0, 45, 90]),
        (100, 5, [0, 22, 45, 68, 90]),  # 22.5 and 67.5
        (101, 4, [0, 30, 61, 91]),  # 30.33 and 60.67
        (10, 3, [0, 0, 0]),
        (5, 2, [0, 0]),
        (11, 3, [0, 0, 1]),
    ],
)
def test_end_inclusive_by_hand(num_video_frames, num_clips, expected):
    starts = end_inclusive_clip_starts(
        num_video_frames, num_clips=num_clips, num_frames=4, sampling_rate=3
    )
    assert starts == expected


@pytest.mark.parametrize("num_clips", [1, 2, 5, 10])
def test_segment_centres_equal_a_loop_over_starts(num_clips):
    for num_video_frames, shape in GRID:
        num_starts = last_start(num_video_frames, **shape) + 1
        expected = []
        for k in range(num_clips):
            # The start s that holds the centre: s <= (k + 1/2) * num_starts / num_clips < s + 1.
            s = 0
            while (s + 1) * 2 * num_clips <= (2 * k + 1) * num_starts:
                s += 1
            expected.append(s)
        assert uniform_clip_starts(num_video_frames, num_clips=num_clips, **shape) == expected


@pytest.mark.parametrize("num_clips", [2, 3, 5, 10])
def test_end_inclusive_is_the_nearest_start_to_an_even_spacing(num_clips):
    for num_video_frames, shape in GRID:
        last = last_start(num_video_frames, **shape)
        starts = end_inclusive_clip_starts(num_video_frames, num_clips=num_clips, **shape)
        assert (starts[0], starts[-1]) == (0, last)
        for k, start in enumerate(starts):
            distances = [abs(s * (num_clips - 1) - k * last) for s in range(last + 1)]
            nearest = [s for s, d in enumerate(distances) if d == min(distances)]
            assert start in nearest
            assert len(nearest) == 1 or start % 2 == 0


def test_one_end_inclusive_clip_is_the_central_one():
    for num_video_frames, shape in GRID:
        starts = end_inclusive_clip_starts(num_video_frames, num_clips=1, **shape)
        assert starts == [last_start(num_video_frames, **shape) // 2]


def test_numbers_that_are_not_positive_are_input_errors():
    with pytest.raises(InputError, match="num_video_frames must be > 0, got 0"):
        clip_frame_indices(0, 0, num_frames=1, sampling_rate=1)
    with pytest.raises(InputError, match=r"clip start must be 0 \.\. 4, got 5"):
        clip_frame_indices(5, 5, num_frames=1, sampling_rate=1)
    with pytest.raises(InputError, match="sampling_rate must be > 0, got 0"):
        uniform_clip_starts(5, num_clips=1, num_frames=1, sampling_rate=0)
    with pytest.raises(InputError, match="num_clips must be > 0, got 0"):
        uniform_clip_starts(5, num_clips=0, num_frames=1, sampling_rate=1)
    with pytest.raises(InputError, match="num_clips must be > 0, got 0"):
        end_inclusive_clip_starts(5, num_clips=0, num_frames=1, sampling_rate=1)
    with pytest.raises(InputError, match="num_frames must be > 0, got -1"):
        looped_clip_frame_indices(0, 5, num_frames=-1, sampling_rate=1)


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
    for num_video_frames, num_frames in SEGMENT_GRID:
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
    for num_video_frames, num_frames in SEGMENT_GRID:
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
    for num_video_frames, num_frames in SEGMENT_GRID:
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


def test_wrong_numbers_of_segments_are_input_errors():
    with pytest.raises(InputError, match="num_frames must be > 0, got 0"):
        random_segment_frames(5, num_frames=0, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="num_clips must be > 0, got -1"):
        central_segment_frames(5, num_clips=-1, num_frames=2)
    with pytest.raises(InputError, match="num_video_frames must be > 0, got 0"):
        end_inclusive_segment_frames(0, num_clips=2, num_frames=2)
