import json
from dataclasses import FrozenInstanceError

import pytest
import torch

from videokd.data.augment import Erasing, ViewParams, apply_view
from videokd.utils.errors import InputError


def through_json(view):
    return ViewParams.from_dict(json.loads(json.dumps(view.to_dict())))


def test_a_view_comes_through_json_exactly(draw_full_view):
    for seed in range(100):
        view = draw_full_view(seed)
        again = through_json(view)
        assert again == view
        assert hash(again) == hash(view)


def test_a_view_from_json_gives_the_same_clip(draw_full_view, frames):
    for seed in range(20):
        view = draw_full_view(seed)
        clip = apply_view(frames, view, size=16)
        assert torch.equal(apply_view(frames, through_json(view), size=16), clip)


def test_a_view_in_json_is_written_out():
    view = ViewParams(
        (1, 2, 3, 4),
        flip=True,
        ops=(("rotate", -12.5), ("equalize", 0.0)),
        erasings=(Erasing((0.0, 0.25, 0.5, 0.75), (0, 128, 255)),),
    )
    assert view.to_dict() == {
        "crop": [1, 2, 3, 4],
        "flip": True,
        "brightness": 1.0,
        "contrast": 1.0,
        "saturation": 1.0,
        "ops": [["rotate", -12.5], ["equalize", 0.0]],
        "erasings": [{"box": [0.0, 0.25, 0.5, 0.75], "fill": [0, 128, 255]}],
    }


def test_other_names_are_input_errors():
    values = ViewParams((1, 2, 3, 4)).to_dict()
    with pytest.raises(InputError, match=r"a view has .*saturation, got crop, hue"):
        ViewParams.from_dict({"crop": values["crop"], "hue": 0.1})
    with pytest.raises(InputError, match="got none"):
        ViewParams.from_dict({})


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.0, 0.0, 1.0, 1.0), (0, 0, 10, 20)),
        ((0.25, 0.25, 0.5, 0.5), (2, 5, 6, 10)),  # rows 2.5 .. 7.5, to the even pixel
        ((0.52, 0.33, 0.2, 0.1), (5, 7, 2, 2)),  # rows 5.2 .. 7.2, columns 6.6 .. 8.6
        ((0.5, 0.5, 0.01, 0.5), (5, 10, 0, 10)),
    ],
)
def test_erased_pixels_by_hand(box, expected):
    assert Erasing(box, (0, 0, 0)).pixels(10, 20) == expected


def test_a_view_cannot_be_changed():
    with pytest.raises(FrozenInstanceError, match="flip"):
        ViewParams((0, 0, 1, 1)).flip = True
