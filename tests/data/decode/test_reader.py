import numpy as np
import pytest

from videokd.data.decode import reader
from videokd.data.decode.reader import FrameSink, scaled_size
from videokd.utils.errors import VideoError


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((240, 320), 0, (240, 320)),
        ((240, 320), 128, (128, 171)),
        ((320, 240), 128, (171, 128)),
        ((48, 64), 96, (96, 128)),
        ((1, 1000), 1, (1, 1000)),
    ],
)
def test_scaled_size_table(size, short_side, expected):
    assert scaled_size(*size, short_side) == expected


def test_frames_are_put_wherever_they_were_asked_for():
    sink = FrameSink("a.avi", [4, 2, 4], 10)
    assert sink.wanted == [2, 4]
    for index in sink.wanted:
        sink.put(index, np.full((2, 3, 3), index, np.uint8))
    assert not sink.missing
    assert sink.result()[:, 0, 0, 0].tolist() == [4, 2, 4]


def test_a_frame_of_another_size_is_a_video_error():
    sink = FrameSink("a.avi", [0, 1], 2)
    sink.put(0, np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(VideoError, match="changes from 3x2 to 2x3; write it anew"):
        sink.put(1, np.zeros((3, 2, 3), np.uint8))


def test_more_frames_than_memory_may_hold_are_refused(monkeypatch):
    monkeypatch.setattr(reader, "MAX_OUTPUT_BYTES", 35)
    sink = FrameSink("a.avi", [0, 1], 2)
    with pytest.raises(VideoError, match="2 frames of 3x2 pixels are more than 35 bytes"):
        sink.put(0, np.zeros((2, 3, 3), np.uint8))
