"""Videos whose frame size changes on the way: one error for every way of reading, and a rescue."""

from pathlib import Path

import numpy as np
import pytest

from videokd.curation.encode_spec import EncodeSpec
from videokd.curation.examine import Decode
from videokd.curation.transcode import transcode
from videokd.data.decode import open_video
from videokd.utils.errors import VideoError

CASE = Path(__file__).parents[4] / "shared/cases/size_changes.webm"
CAUSE = (
    r"the size of its frames changes from 64x48 to 48x64; "
    r"write it anew with `videokd prepare convert`"
)


@pytest.fixture
def turned(make_video, tmp_path):
    """Raw H.264: 12 frames of 64 x 48 pixels, then 12 of 48 x 64."""
    parts = [
        make_video(f"{height}.h264", 12, codec="libx264", size=(height, width), gop=6)
        for height, width in ((48, 64), (64, 48))
    ]
    path = tmp_path / "turned.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("wanted", [[0, 20], [20], [20, 22], range(24)], ids=str)
def test_frames_of_another_size_than_the_first_are_refused(turned, wanted):
    with open_video(str(turned)) as video, pytest.raises(VideoError, match=CAUSE):
        video.get_frames(wanted)


def test_frames_of_the_first_size_are_read(turned, read_numbers):
    with open_video(str(turned)) as video:
        assert read_numbers(video.get_frames([0, 5, 9])) == [0, 5, 9]


def test_check_gives_the_same_cause(turned):
    report = Decode()(turned.name, turned.parent)
    assert report.problem == "corrupt"
    assert f"{report.cause}" == CAUSE


def test_convert_writes_it_with_the_first_size(turned, tmp_path, read_numbers):
    target = tmp_path / "upright.mp4"
    assert transcode(turned, target, EncodeSpec()) == 24
    with open_video(str(target)) as video:
        assert (video.height, video.width) == (48, 64)
        assert read_numbers(video.get_frames(range(24))) == [*range(12), *range(12)]


def test_a_header_that_states_another_size_is_not_believed(make_video, read_numbers):
    path = make_video("a.avi", 12, codec="mpeg4")
    data = bytearray(path.read_bytes())
    start = data.find(b"strf") + 8
    data[start + 4 : start + 12] = (32).to_bytes(4, "little") + (16).to_bytes(4, "little")
    path.write_bytes(data)
    with open_video(str(path)) as video:
        assert read_numbers(video.get_frames(range(12))) == list(range(12))


@pytest.mark.skipif(not CASE.exists(), reason=f"needs {CASE}")
def test_a_call_that_was_turned_can_be_rescued(tmp_path):
    with (
        open_video(str(CASE)) as video,
        pytest.raises(VideoError, match=r"changes from \d+x\d+ to \d+x\d+; write it anew"),
    ):
        video.get_frames(range(video.num_frames))
    num_frames = transcode(CASE, tmp_path / "a.mp4", EncodeSpec())
    with open_video(str(tmp_path / "a.mp4")) as video:
        assert video.num_frames == num_frames
        assert np.ptp(video.get_frames([num_frames - 1])) > 100
