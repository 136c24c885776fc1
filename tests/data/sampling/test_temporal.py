from dataclasses import FrozenInstanceError
from itertools import product

import numpy as np
import pytest

from videokd.data.sampling.clips import clip_frame_indices, random_clip_start
from videokd.data.sampling.temporal import (
    CLAMP,
    DENSE,
    END_INCLUSIVE,
    KINDS,
    LOOP,
    NON_LOCAL,
    SEGMENTS,
    SHORT_VIDEO_RULES,
    TEST_RULES,
    TemporalSampling,
)
from videokd.utils.errors import InputError

GRID = list(product(SHORT_VIDEO_RULES, [0.0, 12.5]))


def make_rng(seed=0):
    return np.random.default_rng(seed)


def draw_clip(sampling, num_video_frames, rng, times=None):
    if sampling.kind == SEGMENTS:
        return sampling.draw_segments(num_video_frames, rng=rng, times=times)
    length = sampling.count_frames(num_video_frames, times=times)
    return sampling.frames_from(sampling.draw_start(length, rng=rng), length, times=times)


def find_test_clips(sampling, num_video_frames, num_clips=1, rule="segment_centres", times=None):
    options = {"num_clips": num_clips, "rule": rule}
    if sampling.kind == SEGMENTS:
        return sampling.test_segments(num_video_frames, times=times, **options)
    length = sampling.count_frames(num_video_frames, times=times)
    starts = sampling.test_starts(length, **options)
    return np.stack([sampling.frames_from(start, length, times=times) for start in starts])


def make_times(num_frames, fps=25.0):
    return 0.2 + np.arange(num_frames) / fps


@pytest.mark.parametrize("num_video_frames", [1, 5, 29, 30, 100])
def test_a_dense_clip_is_the_clip_of_a_random_start(num_video_frames):
    shape = {"num_frames": 8, "sampling_rate": 4}
    for seed in range(20):
        clip = draw_clip(
            TemporalSampling(**shape, short_video=CLAMP), num_video_frames, rng=make_rng(seed)
        )
        start = random_clip_start(num_video_frames, **shape, rng=make_rng(seed))
        expected = clip_frame_indices(start, num_video_frames, **shape)
        np.testing.assert_array_equal(clip, expected)


@pytest.mark.parametrize(
    ("num_video_frames", "rule", "expected"),
    [
        # 4 frames over a window of 12: 3 apart, starts 0 .. 8 for 20 frames.
        (20, "segment_centres", [[2, 5, 8, 11], [6, 9, 12, 15]]),
        (20, "end_inclusive", [[0, 3, 6, 9], [8, 11, 14, 17]]),
        (8, "end_inclusive", [[0, 3, 6, 1], [0, 3, 6, 1]]),
    ],
)
def test_non_local_test_clips_by_hand(num_video_frames, rule, expected):
    sampling = TemporalSampling(4, kind=NON_LOCAL, non_local_window=12, short_video=LOOP)
    assert find_test_clips(sampling, num_video_frames, num_clips=2, rule=rule).tolist() == expected


def test_non_local_starts_are_equally_likely_and_reach_the_last():
    sampling, rng = TemporalSampling(4, kind=NON_LOCAL, non_local_window=12), make_rng()
    drawn = np.stack([draw_clip(sampling, 21, rng=rng) for _ in range(10_000)])
    assert (drawn - drawn[:, :1] == [0, 3, 6, 9]).all()
    # 10 starts; 5 standard deviations are 150.
    assert (np.abs(np.bincount(drawn[:, 0], minlength=10) - 1000) < 150).all()


def test_dense_test_clips_by_hand():
    sampling = TemporalSampling(4, sampling_rate=3, short_video=CLAMP)
    assert find_test_clips(sampling, 100).tolist() == [[45, 48, 51, 54]]
    ends = find_test_clips(sampling, 100, num_clips=2, rule=END_INCLUSIVE)
    assert ends.tolist() == [[0, 3, 6, 9], [90, 93, 96, 99]]
    assert find_test_clips(sampling, 8, num_clips=2).tolist() == [[0, 3, 6, 7]] * 2


def test_segment_test_clips_by_hand():
    sampling = TemporalSampling(4, kind=SEGMENTS)
    assert find_test_clips(sampling, 100).tolist() == [[12, 37, 62, 87]]


def test_clips_by_seconds_by_hand():
    # 25 frames per second at 12.5: frames of the resampled video are 0, 2, 4 ...
    sampling = TemporalSampling(4, sampling_rate=3, target_fps=12.5)
    clips = find_test_clips(sampling, 40, num_clips=2, rule=END_INCLUSIVE, times=make_times(40))
    assert clips.tolist() == [[0, 6, 12, 18], [20, 26, 32, 38]]
    # At 50 every frame comes twice.
    sampling = TemporalSampling(4, sampling_rate=3, target_fps=50.0)
    clips = find_test_clips(sampling, 5, num_clips=2, rule=END_INCLUSIVE, times=make_times(5))
    assert clips.tolist() == [[0, 1, 3, 4], [0, 1, 3, 4]]


def test_a_clip_by_seconds_lasts_as_long_at_any_rate():
    sampling = TemporalSampling(8, sampling_rate=2, target_fps=10.0)
    for fps in (10.0, 15.0, 25.0, 29.97, 60.0):
        times = make_times(round(5 * fps), fps)
        for seed in range(10):
            clip = draw_clip(sampling, len(times), rng=make_rng(seed), times=times)
            assert times[clip[-1]] - times[clip[0]] == pytest.approx(1.4, abs=1 / fps + 0.001)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fps", [24.0, 25.0, 30000 / 1001])
def test_at_the_videos_own_rate_seconds_and_frames_are_the_same(kind, fps):
    by_frames = TemporalSampling(8, sampling_rate=4, kind=kind)
    by_seconds = TemporalSampling(8, sampling_rate=4, kind=kind, target_fps=fps)
    for num_video_frames in (1, 7, 29, 63, 64, 200):
        times = make_times(num_video_frames, fps)
        drawn = draw_clip(by_frames, num_video_frames, rng=make_rng())
        again = draw_clip(by_seconds, num_video_frames, rng=make_rng(), times=times)
        np.testing.assert_array_equal(drawn, again)
        for rule in TEST_RULES:
            expected = find_test_clips(by_frames, num_video_frames, num_clips=3, rule=rule)
            clips = find_test_clips(
                by_seconds, num_video_frames, num_clips=3, rule=rule, times=times
            )
            np.testing.assert_array_equal(clips, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("short_video", "target_fps"), GRID)
def test_all_clips_lie_in_the_video_and_run_forwards(kind, short_video, target_fps):
    sampling = TemporalSampling(
        4,
        sampling_rate=3,
        kind=kind,
        target_fps=target_fps,
        short_video=short_video,
        non_local_window=10,
    )
    rng = make_rng()
    for num_video_frames, num_clips in product([1, 2, 3, 9, 10, 11, 50], [1, 2, 5]):
        times = make_times(num_video_frames)
        batches = [
            np.stack(
                [
                    draw_clip(sampling, num_video_frames, rng=rng, times=times)
                    for _ in range(num_clips)
                ]
            ),
            *(
                find_test_clips(
                    sampling, num_video_frames, num_clips=num_clips, rule=rule, times=times
                )
                for rule in TEST_RULES
            ),
        ]
        for clips in batches:
            assert clips.shape == (num_clips, 4)
            assert clips.dtype == np.int64
            assert clips.min() >= 0
            assert clips.max() < num_video_frames
            if short_video != LOOP or num_video_frames == 50:
                assert (np.diff(clips, axis=1) >= 0).all()


def test_a_draw_is_a_function_of_the_seed():
    sampling = TemporalSampling(8, kind=SEGMENTS)
    first, again, other = (draw_clip(sampling, 500, rng=make_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_description_cannot_be_changed():
    with pytest.raises(FrozenInstanceError, match="num_frames"):
        TemporalSampling(8).num_frames = 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames must be > 0, got 0"),
        ({"sampling_rate": 0}, "sampling_rate must be > 0, got 0"),
        ({"kind": "tsn"}, "kind must be one of dense, segments, non_local, got 'tsn'"),
        ({"short_video": "pad"}, "short_video must be one of spread, clamp, loop, got 'pad'"),
        ({"target_fps": -1.0}, r"target_fps must be >= 0 \(0 = frames as they are\), got -1.0"),
        ({"target_fps": float("nan")}, "target_fps must be >= 0 .* got nan"),
        ({"kind": NON_LOCAL, "non_local_window": 7}, "must be >= num_frames 8, got 7"),
    ],
)
def test_wrong_descriptions_are_input_errors(options, message):
    with pytest.raises(InputError, match=message):
        TemporalSampling(**({"num_frames": 8} | options))


def test_wrong_calls_are_input_errors():
    sampling = TemporalSampling(8, kind=DENSE, target_fps=10.0)
    with pytest.raises(InputError, match="needs the times of all 20 frames, got none"):
        find_test_clips(sampling, 20)
    with pytest.raises(InputError, match=r"needs the times of all 20 frames, got shape \(19,\)"):
        draw_clip(sampling, 20, rng=make_rng(), times=make_times(19))
    with pytest.raises(InputError, match="num_video_frames must be > 0, got 0"):
        find_test_clips(sampling, 0, times=make_times(1))
    with pytest.raises(InputError, match="num_clips must be > 0, got 0"):
        find_test_clips(sampling, 20, num_clips=0, times=make_times(20))
    with pytest.raises(InputError, match="rule must be one of segment_centres, end_inclusive"):
        find_test_clips(TemporalSampling(8), 20, rule="ends")
