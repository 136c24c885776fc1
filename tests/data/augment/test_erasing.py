import numpy as np
import pytest
import torch

from videokd.data.augment import Erasing, RandomErasing
from videokd.data.augment.erasing import erase
from videokd.utils.errors import InputError


def draw_many(num_clips=500, **options):
    rng, spec = np.random.default_rng(0), RandomErasing(**options)
    return [spec.draw(rng) for _ in range(num_clips)]


def test_boxes_lie_inside_and_keep_to_the_ranges():
    drawn = draw_many(probability=1.0, area_range=(0.1, 0.3), ratio_range=(0.5, 2.0))
    boxes = np.array([erasing.box for (erasing,) in drawn])
    top, left, height, width = boxes.T
    assert boxes.min() >= 0
    assert max((top + height).max(), (left + width).max()) <= 1
    area, ratio = height * width, width / height
    assert 0.1 <= area.min() < 0.11 < 0.29 < area.max() <= 0.3
    assert 0.5 <= ratio.min() + 1e-9 < 0.53 < 1.9 < ratio.max() <= 2.0 + 1e-9
    assert np.log(ratio).mean() == pytest.approx(0.0, abs=0.1)


def test_several_boxes_share_the_area():
    for erasings in draw_many(probability=1.0, area_range=(0.3, 0.3), num_boxes=3):
        assert len(erasings) == 3
        assert all(e.box[2] * e.box[3] == pytest.approx(0.1) for e in erasings)


def test_the_probability_is_kept_to():
    assert 85 < sum(bool(erasings) for erasings in draw_many(probability=0.25)) < 165
    assert not any(draw_many(probability=0.0))


def test_boxes_that_do_not_fit_are_left_out():
    assert set(draw_many(20, probability=1.0, area_range=(1.0, 1.0), ratio_range=(4.0, 4.0))) == {
        ()
    }


def test_colours_are_random_or_as_told():
    fills = [erasing.fill for (erasing,) in draw_many(probability=1.0)]
    assert len(set(fills)) > 490
    assert 0 <= np.min(fills) < 5 < 250 < np.max(fills) <= 255
    grey = draw_many(50, probability=1.0, fill=(1, 2, 3))
    assert {erasing.fill for (erasing,) in grey} == {(1, 2, 3)}


def test_boxes_are_painted_over_all_frames_in_their_order(clip):
    before = clip.clone()
    erasings = (
        Erasing((0.0, 0.0, 0.5, 0.5), (1, 2, 3)),
        Erasing((0.25, 0.3, 0.5, 0.2), (7, 8, 9)),
    )
    painted = erase(clip, erasings)
    expected = before.clone()  # 12 x 10 pixels
    for channel in range(3):
        expected[channel, :, 0:6, 0:5] = 1 + channel
        expected[channel, :, 3:9, 3:5] = 7 + channel
    assert torch.equal(painted, expected)
    assert torch.equal(clip, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 1.1}, r"probability must be 0 \.\. 1, got 1.1"),
        ({"area_range": (0.0, 0.5)}, "area_range must satisfy 0 < low <= high <= 1"),
        ({"ratio_range": (2.0, 1.0)}, "ratio_range must satisfy 0 < low <= high"),
        ({"num_boxes": 0}, "num_boxes must be > 0, got 0"),
        ({"fill": (0, 0, 256)}, r"fill must be 0 \.\. 255, got \(0, 0, 256\)"),
    ],
)
def test_wrong_options_are_input_errors(options, message):
    with pytest.raises(InputError, match=message):
        RandomErasing(**options)
