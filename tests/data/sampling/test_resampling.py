from itertools import product

import numpy as np
import pytest

from videokd.data.sampling.resampling import count_resampled_frames, find_resampled_frames
from videokd.utils.errors import InputError

RATES = [5.0, 10.0, 12.5, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0]


def constant(num_frames, fps, start=0.0):
    return start + np.arange(num_frames) / fps


def resample(times, target_fps):
    indices = np.arange(count_resampled_frames(times, target_fps=target_fps))
    return find_resampled_frames(indices, times=times, target_fps=target_fps)


@pytest.mark.parametrize(
    ("times", "target_fps", "expected"),
    [
        # 10 frames per second shown at 5: every second one; at 20: each twice.
        ([0.0, 0.1, 0.2, 0.3], 5.0, [0, 2]),
        ([0.0, 0.1, 0.2, 0.3], 20.0, [0, 0, 1, 1, 2, 2, 3, 3]),
        # At 0, 1/7.5, 2/7.5 = 0, 0.133, 0.267.
        ([0.0, 0.1, 0.2, 0.3], 7.5, [0, 1, 2]),
        # A pause from 0.08 to 0.20. The last frame lasts 0.06, the mean: up to 0.30.
        ([0.0, 0.04, 0.08, 0.20, 0.24], 25.0, [0, 1, 2, 2, 2, 3, 4, 4]),
        # A burst: frames at 0.25, 0.26 and 0.27 show at one instant at most.
        ([0.0, 0.25, 0.26, 0.27, 0.5], 4.0, [0, 1, 4]),
        # A video that does not start at zero.
        ([7.0, 7.1, 7.2, 7.3], 5.0, [0, 2]),
        ([3.0], 30.0, [0]),
        ([3.0, 3.0], 30.0, [1]),
    ],
)
def test_frames_shown_by_hand(times, target_fps, expected):
    assert resample(np.array(times), target_fps).tolist() == expected


@pytest.mark.parametrize("source_fps", RATES)
def test_frames_shown_equal_a_loop(source_fps):
    for num_frames, target_fps in product((2, 7, 50), RATES):
        times = constant(num_frames, source_fps, start=1.5)
        frames = resample(times, target_fps)
        duration = num_frames / source_fps
        expected, shown, m = [], 0, 0
        # An instant with less than a quarter of a step left before the end is not counted.
        while m == 0 or m / target_fps + 0.25 / target_fps < duration - 1e-9:
            while shown + 1 < num_frames and times[shown + 1] <= 1.5 + m / target_fps + 0.001:
                shown += 1
            expected.append(shown)
            m += 1
        assert frames.tolist() == expected


@pytest.mark.parametrize("fps", [*RATES, 240.0, 1000.0])
@pytest.mark.parametrize("start", [0.0, 0.0417, 3600.5])
def test_a_constant_rate_at_its_own_rate_is_the_video_itself(fps, start):
    for num_frames in (1, 2, 3, 48, 1000, 30_000):
        frames = resample(constant(num_frames, fps, start), fps)
        np.testing.assert_array_equal(frames, np.arange(num_frames))


@pytest.mark.parametrize("fps", RATES)
def test_times_in_whole_milliseconds_change_nothing(fps):
    for num_frames in (2, 3, 48, 1000, 30_000):
        times = np.round(constant(num_frames, fps, start=0.0415), 3)
        np.testing.assert_array_equal(resample(times, fps), np.arange(num_frames))


def test_a_variable_rate_shows_the_last_frame_not_later_than_each_instant():
    rng = np.random.default_rng(0)
    for _ in range(50):
        times = rng.random() + np.cumsum(rng.choice([0.02, 0.033, 0.04, 0.5], 40))
        target_fps = rng.uniform(1, 100)
        frames = resample(times, target_fps)
        instants = times[0] + np.arange(len(frames)) / target_fps + 0.001
        assert (times[frames] <= instants).all()
        later = np.append(times, np.inf)[frames + 1]
        assert (later > instants).all()
        assert (np.diff(frames) >= 0).all()


def test_indices_keep_their_shape():
    indices = np.array([[0, 2], [4, 6]])
    frames = find_resampled_frames(indices, times=constant(10, 10.0), target_fps=20.0)
    assert frames.dtype == np.int64
    assert frames.tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("target_fps", [0.0, -1.0, float("nan"), float("inf")])
def test_a_wrong_rate_is_an_input_error(target_fps):
    with pytest.raises(InputError, match="target_fps must be > 0, got"):
        count_resampled_frames(constant(3, 10.0), target_fps=target_fps)


@pytest.mark.parametrize("times", [[], [0.0, float("nan")], [0.0, 0.2, 0.1]])
def test_wrong_times_are_input_errors(times):
    with pytest.raises(InputError, match="finite seconds that do not decrease"):
        find_resampled_frames(np.arange(2), times=np.array(times), target_fps=5.0)
