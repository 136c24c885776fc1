from types import SimpleNamespace

import numpy as np
import pytest

from videokd.data.cutting import ClipSet, ClipSpec, SharedFrames, companion_start
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


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ((ClipSpec(2, 1, 32, 56),), "agree in short side and box, got 40 and 32 px, 56 and 32 px"),
        ((ClipSpec(2, 1, 16, 40),), "agree in short side and box, got 40 and 32 px, 40 and 16 px"),
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
        assert frames.clip(number)[:, 0, 0, 0].tolist() == clip.tolist()
