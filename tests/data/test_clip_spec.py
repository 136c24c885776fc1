from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from videokd.data.clip_spec import ClipSet, ClipSpec, SharedFrames, companion_start, find_times
from videokd.utils.errors import InputError

MAIN = ClipSpec(num_frames=4, sampling_rate=3, crop_size=32, short_side=40)


@pytest.mark.parametrize(
    ("start", "num_video_frames", "span", "other_span", "expected"),
    [
        (20, 100, 10, 10, 20),  # frames 20 .. 29 again
        (20, 100, 10, 4, 23),  # 3 frames before and 3 after it are left out
        (20, 100, 10, 5, 22),  # 2 before, 3 after
        (20, 100, 10, 16, 17),  # 3 frames more on either side
        (20, 100, 10, 15, 17),  # 3 more before, 2 after
        (0, 100, 10, 30, 0),  # shifted to the first frame
        (90, 100, 10, 30, 70),  # shifted so that it ends with the video
        (0, 100, 10, 100, 0),
        (0, 100, 10, 101, 0),  # does not fit at all
        (0, 6, 10, 2, 2),  # the video is shorter than the clip: around the middle of the video
        (0, 6, 10, 10, 0),
        (0, 1, 10, 5, 0),
    ],
)
def test_companion_start_table(start, num_video_frames, span, other_span, expected):
    assert companion_start(start, num_video_frames, span=span, other_span=other_span) == expected


def test_a_companion_lies_inside_and_as_near_as_it_can():
    for num_video_frames in (1, 7, 20, 33):
        for span in (1, 6, 13):
            for start in range(max(num_video_frames - span, 0) + 1):
                covered = min(start + span, num_video_frames)
                for other_span in (1, 2, 5, 12, 40):
                    first = companion_start(
                        start, num_video_frames, span=span, other_span=other_span
                    )
                    # Twice the distance of the middles, over every place that it could have had.
                    places = range(max(num_video_frames - other_span, 0) + 1)
                    distances = [abs(2 * p + other_span - (start + covered)) for p in places]
                    assert distances[first] == min(distances)


def test_all_clips_of_a_moment_are_listed_in_the_order_of_the_shapes():
    fine, wide = ClipSpec(3, 1, 32, 40), ClipSpec(2, 20, 32, 40)
    clips = ClipSet(MAIN, others=(fine, wide), plain=(fine, MAIN))
    assert clips.specs == (MAIN, fine, wide)
    listed = [indices.tolist() for indices in clips.list_frames(10, 40)]
    # Spans 10, 3 and 21: the middle lies between the frames 14 and 15.
    assert listed == [[10, 13, 16, 19], [13, 14, 15], [4, 24]]


def draw(clips, num_video_frames, seed=0, times=None):
    rng = np.random.default_rng(seed)
    drawn = clips.draw_frames(num_video_frames, rng=rng, times=times)
    return [indices.tolist() for indices in drawn], rng


@pytest.mark.parametrize("sampler", ["dense", "segments", "non_local"])
def test_what_is_drawn_depends_on_the_main_clip_alone(sampler):
    main, other = (ClipSpec(t, 3, 32, 40, sampler=sampler) for t in (4, 7))
    for seed in range(5):
        (alone,), rng = draw(ClipSet(main), 50, seed)
        (first, _), same_rng = draw(ClipSet(main, others=(other,)), 50, seed)
        assert first == alone
        assert rng.random() == same_rng.random()


@pytest.mark.parametrize("sampler", ["dense", "segments", "non_local"])
def test_clips_of_as_many_frames_show_the_same_ones(sampler):
    main = ClipSpec(4, 3, 32, 40, sampler=sampler)
    small = replace(main, crop_size=16, box_size=32)
    (one, other), _ = draw(ClipSet(main, others=(small,)), 50)
    assert one == other
    clips = ClipSet(main, others=(small,))
    for one, other in clips.test_frames(50, num_clips=3, rule="end_inclusive"):
        assert one.tolist() == other.tolist()


def test_segments_are_those_of_each_clip():
    main, other = (ClipSpec(t, 9, 32, 40, sampler="segments") for t in (4, 8))
    for seed in range(5):
        drawn, _ = draw(ClipSet(main, others=(other,)), 40, seed)
        assert [i // 10 for i in drawn[0]] == [0, 1, 2, 3]
        assert [i // 5 for i in drawn[1]] == list(range(8))
    (centres,) = ClipSet(main, others=(other,)).test_frames(40, num_clips=1, rule="end_inclusive")
    assert [c.tolist() for c in centres] == [[5, 15, 25, 35], [2, 7, 12, 17, 22, 27, 32, 37]]


def test_a_non_local_window_has_as_many_frames_as_the_clip_times_its_rate():
    spec = ClipSpec(4, 3, 32, 40, sampler="non_local")
    starts = {draw(ClipSet(spec), 14, seed)[0][0][0] for seed in range(40)}
    assert starts == {0, 1, 2}  # of 14 frames, a window of 12
    assert draw(ClipSet(spec), 12)[0] == [[0, 3, 6, 9]]


def test_test_clips_lie_as_the_rule_says():
    clips = ClipSet(MAIN, others=(ClipSpec(2, 1, 32, 40),))
    ends = clips.test_frames(40, num_clips=3, rule="end_inclusive")
    assert [moment[0].tolist()[0] for moment in ends] == [0, 15, 30]
    assert [moment[1].tolist() for moment in ends] == [[4, 5], [19, 20], [34, 35]]
    centres = clips.test_frames(40, num_clips=3, rule="segment_centres")
    assert [moment[0].tolist()[0] for moment in centres] == [5, 15, 25]  # of 31 starts


def test_short_videos_loop_where_that_is_the_rule():
    main, other = (ClipSpec(t, 3, 32, 40, short_video="loop") for t in (4, 5))
    (moment,) = ClipSet(main, others=(other,)).test_frames(5, num_clips=1, rule="end_inclusive")
    assert [c.tolist() for c in moment] == [[0, 3, 1, 4], [0, 3, 1, 4, 2]]


def test_clips_by_seconds_are_placed_by_seconds():
    # 30 frames a second for 2 seconds, then 10: at 10 a second that is every third frame, then all.
    times = np.concatenate([np.arange(60) / 30, 2 + np.arange(20) / 10])
    main, other = (ClipSpec(t, 1, 32, 40, target_fps=10.0) for t in (4, 8))
    clips = ClipSet(main, others=(other,))
    # 40 frames of 0.1 seconds. Clips of 4 at the ends and in the middle, of 8 around them.
    moments = clips.test_frames(80, num_clips=3, rule="end_inclusive", times=times)
    assert [moment[0].tolist() for moment in moments] == [
        [0, 3, 6, 9],
        [54, 57, 60, 61],
        [76, 77, 78, 79],
    ]
    assert [moment[1].tolist() for moment in moments] == [
        list(range(0, 24, 3)),
        [48, 51, 54, 57, 60, 61, 62, 63],
        list(range(72, 80)),
    ]


def test_times_are_looked_for_where_clips_ask_for_them():
    reader = SimpleNamespace(times=np.array([0.0, 0.05, 0.4]))
    assert find_times(reader, MAIN) is None
    assert find_times(reader, replace(MAIN, target_fps=10.0)) is reader.times


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ((ClipSpec(2, 1, 32, 56),), r"agree in short side, .* got \(40, 32, .* and \(56, 32, "),
        ((ClipSpec(2, 1, 16, 40),), r"agree in .*, box, .* got \(40, 32, .* and \(40, 16, "),
        (
            (ClipSpec(2, 1, 32, 40, sampler="segments"),),
            "agree in .* sampler, .* and .* 'segments'",
        ),
        (
            (ClipSpec(2, 1, 32, 40, target_fps=5.0),),
            "agree in .* rate of the video .* 5.0, 'spread'",
        ),
        ((ClipSpec(2, 1, 32, 40, short_video="loop"),), "agree in .* rule for short .* 'loop'"),
        ((ClipSpec(4, 3, 32, 40),), "must differ in shape, got 4x3x32, 4x3x32"),
    ],
)
def test_clips_that_are_not_of_one_decode_are_refused(others, message):
    with pytest.raises(InputError, match=message):
        ClipSet(MAIN, others=others)


def test_the_reader_is_asked_once_for_each_frame_in_order():
    asked = []

    def get_frames(indices, *, short_side):
        asked.append((indices, short_side))
        return np.broadcast_to(np.array(indices, np.uint8)[:, None, None, None], (4, 6, 5, 3))

    clips = [np.array(c) for c in ([7, 3], [3, 5, 7], [9, 9], [5])]
    frames = SharedFrames(SimpleNamespace(get_frames=get_frames), clips, short_side=5)
    assert asked == [([3, 5, 7, 9], 5)]
    assert frames.size == (6, 5)
    for number, clip in enumerate(clips):
        assert frames.frames[frames.rows[number]][:, 0, 0, 0].tolist() == clip.tolist()
