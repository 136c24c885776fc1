import pytest

from videokd.curation.encode_spec import CODECS, CONTAINERS, EncodeSpec
from videokd.data.decode.container import VIDEO_EXTENSIONS
from videokd.utils.errors import InputError


@pytest.mark.parametrize(
    ("path", "options", "target"),
    [
        ("run/a.b.mp4", {}, "run/a.b.mp4"),
        ("run/A.AVI", {}, "run/A.AVI"),
        ("run/#[x];.webm", {}, "run/#[x];.mp4"),
        ("a.webm", {"codec": "vp9"}, "a.webm"),
        ("a.avi", {"codec": "vp9"}, "a.webm"),
        ("run.x/a.avi", {"extension": ".mkv"}, "run.x/a.mkv"),
    ],
)
def test_names_stay_where_the_container_can_hold_the_codec(path, options, target):
    assert EncodeSpec(**options).target_path(path) == target


def test_every_video_of_a_folder_has_a_target():
    for codec in CODECS:
        for extension in VIDEO_EXTENSIONS:
            target = EncodeSpec(codec=codec).target_path(f"a{extension}")
            assert target.removeprefix("a") in CONTAINERS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "theora"}, "codec must be one of h264, vp9, got 'theora'"),
        ({"extension": ".webm"}, r"\.webm cannot hold h264; choose one of \.mp4"),
        ({"short_side": 101}, "short side must be an even number >= 0, got 101"),
        ({"crf": 52}, r"crf of h264 must be 0 \.\. 51, got 52"),
        ({"fps": -1.0}, "got -1 and 12"),
        ({"gop_frames": 0}, "key frames at least 1 frame apart, got 0 and 0"),
    ],
)
def test_what_cannot_be_written_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        EncodeSpec(**options)
