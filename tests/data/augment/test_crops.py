from itertools import product

import pytest

from videokd.data.augment.augmentation import uniform_crop_boxes
from videokd.utils.errors import InputError


@pytest.mark.parametrize(
    ("height", "width", "size", "num_crops", "expected"),
    [
        (256, 340, 256, 3, [(0, 0, 256, 256), (0, 42, 256, 256), (0, 84, 256, 256)]),
        (340, 256, 256, 3, [(0, 0, 256, 256), (42, 0, 256, 256), (84, 0, 256, 256)]),
        (256, 340, 224, 1, [(16, 58, 224, 224)]),
        (48, 64, 56, 1, [(0, 8, 48, 48)]),
        (32, 32, 32, 3, [(0, 0, 32, 32)] * 3),
        (5, 8, 4, 5, [(0, 0, 4, 4), (0, 4, 4, 4), (1, 0, 4, 4), (1, 4, 4, 4), (0, 2, 4, 4)]),
        (8, 5, 6, 5, [(0, 0, 5, 5), (0, 0, 5, 5), (3, 0, 5, 5), (3, 0, 5, 5), (1, 0, 5, 5)]),
    ],
)
def test_crops_by_hand(height, width, size, num_crops, expected):
    assert uniform_crop_boxes(height, width, size=size, num_crops=num_crops) == expected


@pytest.mark.parametrize(("height", "width"), list(product([1, 5, 8, 9], repeat=2)))
@pytest.mark.parametrize("num_crops", [1, 3, 5])
def test_crops_are_squares_inside_that_reach_the_ends(height, width, num_crops):
    for size in (1, 4, 5, 20):
        side = min(size, height, width)
        boxes = uniform_crop_boxes(height, width, size=size, num_crops=num_crops)
        assert len(boxes) == num_crops
        assert all(box[2:] == (side, side) for box in boxes)
        assert all(0 <= y <= height - side and 0 <= x <= width - side for y, x, _, _ in boxes)
        if num_crops > 1:
            ends = (height, width) if num_crops == 5 else (max(height, width),)
            reached = [max(y for y, _, _, _ in boxes), max(x for _, x, _, _ in boxes)]
            assert {end - side for end in ends} <= set(reached)


def test_one_turn_of_the_frame_turns_the_three_crops():
    wide = uniform_crop_boxes(7, 12, size=6, num_crops=3)
    high = uniform_crop_boxes(12, 7, size=6, num_crops=3)
    assert [(x, y, w, h) for y, x, h, w in wide] == high


def test_other_numbers_are_input_errors():
    with pytest.raises(InputError, match="num_crops must be 1, 3 or 5, got 2"):
        uniform_crop_boxes(5, 5, size=5, num_crops=2)
    with pytest.raises(InputError, match="a crop of 0 needs a positive size"):
        uniform_crop_boxes(5, 5, size=0, num_crops=1)


def test_crops_of_the_shape_of_the_frame_keep_its_sides():
    # 30 of 36 pixels of the short side, and 60 of 72 of the long one.
    assert uniform_crop_boxes(36, 72, size=30, num_crops=1, shape="frame") == [(3, 6, 30, 60)]
    assert uniform_crop_boxes(36, 72, size=40, num_crops=1, shape="frame") == [(0, 0, 36, 72)]
    starts = [box[1] for box in uniform_crop_boxes(36, 72, size=30, num_crops=3, shape="frame")]
    assert starts == [0, 6, 12]


def test_an_unknown_shape_is_an_input_error():
    with pytest.raises(InputError, match="crop shape must be one of square, frame, got 'round'"):
        uniform_crop_boxes(5, 5, size=5, num_crops=1, shape="round")
