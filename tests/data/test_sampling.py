from itertools import product

import numpy as np
import pytest

from videokd.data.sampling import (
    clip_frame_indices,
    random_clip_start,
    uniform_clip_starts,
    uniform_crop_boxes,
)
from videokd.utils.errors import InputError

GRID = list(product([1, 2, 7, 8, 9, 30, 31], [1, 2, 8], [1, 3, 4]))


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
def test_clip_frame_indices_table(start, num_video_frames, expected):
    indices = clip_frame_indices(start, num_video_frames, num_frames=4, sampling_rate=3)
    assert indices.dtype == np.int64
    assert indices.tolist() == expected


@pytest.mark.parametrize(("num_video_frames", "num_frames", "sampling_rate"), GRID)
def test_clip_frame_indices_equal_a_loop(num_video_frames, num_frames, sampling_rate):
    for start in range(num_video_frames):
        expected, index = [], start
        for _ in range(num_frames):
            expected.append(index)
            index = index + sampling_rate
        expected = [min(i, num_video_frames - 1) for i in expected]
        indices = clip_frame_indices(
            start, num_video_frames, num_frames=num_frames, sampling_rate=sampling_rate
        )
        assert indices.tolist() == expected


@pytest.mark.parametrize(("num_video_frames", "num_frames", "sampling_rate"), GRID)
def test_random_starts_are_all_those_whose_clip_fits(num_video_frames, num_frames, sampling_rate):
    span = (num_frames - 1) * sampling_rate + 1
    fitting = [s for s in range(num_video_frames) if s + span <= num_video_frames] or [0]
    rng = np.random.default_rng(0)
    drawn = {
        random_clip_start(
            num_video_frames, num_frames=num_frames, sampling_rate=sampling_rate, rng=rng
        )
        for _ in range(60 * len(fitting))
    }
    assert sorted(drawn) == fitting


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
def test_uniform_clip_starts_table(num_video_frames, num_clips, expected):
    starts = uniform_clip_starts(
        num_video_frames, num_clips=num_clips, num_frames=4, sampling_rate=3
    )
    assert starts == expected


@pytest.mark.parametrize(("num_video_frames", "num_frames", "sampling_rate"), GRID)
@pytest.mark.parametrize("num_clips", [1, 2, 5, 10])
def test_uniform_clip_starts_are_centres_of_equal_segments(
    num_video_frames, num_frames, sampling_rate, num_clips
):
    starts = uniform_clip_starts(
        num_video_frames, num_clips=num_clips, num_frames=num_frames, sampling_rate=sampling_rate
    )
    last = max(num_video_frames - ((num_frames - 1) * sampling_rate + 1), 0)
    interval = (last + 1) / num_clips
    assert starts == [int(k * interval + interval / 2 + 1e-9) for k in range(num_clips)]
    assert 0 <= starts[0] <= starts[-1] <= last


@pytest.mark.parametrize(
    ("height", "width", "size", "num_crops", "expected"),
    [
        (256, 340, 256, 3, [(0, 0, 256, 256), (0, 42, 256, 256), (0, 84, 256, 256)]),
        (340, 256, 256, 3, [(0, 0, 256, 256), (42, 0, 256, 256), (84, 0, 256, 256)]),
        (256, 340, 224, 1, [(16, 58, 224, 224)]),
        (48, 64, 56, 1, [(0, 8, 48, 48)]),
        (32, 32, 32, 3, [(0, 0, 32, 32)] * 3),
    ],
)
def test_uniform_crop_boxes_table(height, width, size, num_crops, expected):
    assert uniform_crop_boxes(height, width, size=size, num_crops=num_crops) == expected


def test_numbers_that_are_not_positive_are_input_errors():
    with pytest.raises(InputError, match="num_video_frames must be > 0, got 0"):
        clip_frame_indices(0, 0, num_frames=1, sampling_rate=1)
    with pytest.raises(InputError, match=r"clip start must be 0 \.\. 4, got 5"):
        clip_frame_indices(5, 5, num_frames=1, sampling_rate=1)
    with pytest.raises(InputError, match="sampling_rate must be > 0, got 0"):
        uniform_clip_starts(5, num_clips=1, num_frames=1, sampling_rate=0)
    with pytest.raises(InputError, match="num_clips must be > 0, got 0"):
        uniform_clip_starts(5, num_clips=0, num_frames=1, sampling_rate=1)
    with pytest.raises(InputError, match="num_crops must be 1 or 3, got 2"):
        uniform_crop_boxes(5, 5, size=5, num_crops=2)
    with pytest.raises(InputError, match="must be > 0, got 5, 5, 0"):
        uniform_crop_boxes(5, 5, size=0, num_crops=1)
