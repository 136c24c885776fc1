import math
from dataclasses import replace

import numpy as np
import pytest

from videokd.data.augment import (
    Augmentation,
    AugmentSpec,
    RandAugment,
    RandomErasing,
    center_crop,
)
from videokd.data.augment.draw import draw_jittered_crop
from videokd.utils.errors import InputError

RANGES = {"scale_range": (0.4, 0.9), "ratio_range": (0.75, 1.5), "flip": True, "color_jitter": 0.3}
FULL = AugmentSpec(
    **RANGES,
    saturation_jitter=0.2,
    rand_augment=RandAugment(),
    erasing=RandomErasing(probability=1.0),
)


def make_rng(seed=0):
    return np.random.default_rng(seed)


def draw(seed=0, height=56, width=75, **changes):
    return AugmentSpec(**(RANGES | changes)).draw(height, width, rng=make_rng(seed))


def draw_jittered(seed, height=256, width=340, scales=(256, 320), crop_size=224):
    return draw_jittered_crop(height, width, rng=make_rng(seed), scales=scales, crop_size=crop_size)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale_range": (0.9, 1.0)},
        {"ratio_range": (2.5, 3.0)},
        {"jitter_scales": (256, 320), "jitter_crop_size": 224},
    ],
)
def test_another_crop_leaves_the_others_alone(changes):
    for seed in range(100):
        one = FULL.draw(56, 75, rng=make_rng(seed))
        other = replace(FULL, **changes).draw(56, 75, rng=make_rng(seed))
        assert other.crop != one.crop
        assert replace(other, crop=one.crop) == one


def test_drawn_crops_lie_inside_and_keep_to_the_ranges():
    for seed in range(200):
        top, left, height, width = draw(seed).crop
        assert 0 <= top <= 56 - height
        assert 0 <= left <= 75 - width
        assert 0.37 <= height * width / (56 * 75) <= 0.93
        assert 0.72 <= width / height <= 1.56


def test_drawn_factors_and_flips_keep_to_their_ranges():
    views = [FULL.draw(56, 75, rng=make_rng(seed)) for seed in range(300)]
    factors = [f for view in views for f in (view.brightness, view.contrast)]
    assert 0.7 <= min(factors) < 0.75 < 1.25 < max(factors) <= 1.3
    saturations = [view.saturation for view in views]
    assert 0.8 <= min(saturations) < 0.85 < 1.15 < max(saturations) <= 1.2
    assert 110 < sum(view.flip for view in views) < 190


def test_a_simple_view_is_a_view_of_the_whole_description():
    whole = FULL.draw(56, 75, rng=make_rng(7))
    assert draw(7) == replace(whole, saturation=1.0, ops=(), erasings=())


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"flip": False}, {"flip": False}),
        ({"color_jitter": 0.0}, {"brightness": 1.0, "contrast": 1.0}),
        ({"saturation_jitter": 0.0}, {"saturation": 1.0}),
        ({"rand_augment": None}, {"ops": ()}),
        ({"erasing": None}, {"erasings": ()}),
    ],
)
def test_switching_an_augmentation_off_leaves_the_others_alone(changes, parts):
    for seed in range(20):
        view = replace(FULL, **changes).draw(56, 75, rng=make_rng(seed))
        assert view == replace(FULL.draw(56, 75, rng=make_rng(seed)), **parts)


def test_views_drawn_one_after_the_other_differ_in_every_part():
    rng = make_rng()
    first, second = (FULL.draw(56, 75, rng=rng) for _ in range(2))
    for name in ("crop", "brightness", "contrast", "saturation", "ops", "erasings"):
        assert getattr(first, name) != getattr(second, name)


def test_a_frame_too_long_for_the_ratios_gets_the_largest_central_crop():
    assert draw(height=10, width=1000, scale_range=(0.9, 1.0)).crop == (0, 492, 10, 15)
    assert draw(height=1000, width=12, scale_range=(0.9, 1.0)).crop == (492, 0, 16, 12)


def test_ratios_are_drawn_evenly_on_a_log_scale():
    ratios = [math.log(w / h) for _, _, h, w in (draw(s, 400, 400).crop for s in range(400))]
    assert np.mean(ratios) == pytest.approx((math.log(0.75) + math.log(1.5)) / 2, abs=0.05)


def test_the_centre_view_is_the_central_square():
    assert center_crop(20, 30, 16) == Augmentation((2, 7, 16, 16))


def test_jittered_crops_are_squares_of_the_scaled_frame():
    boxes = [draw_jittered(seed) for seed in range(2000)]
    sides = np.array([height for _, _, height, _ in boxes])
    assert all(height == width for _, _, height, width in boxes)
    # 224 of a short side of 256 .. 320, on a frame of 256: 224 .. 179.2.
    assert (sides.min(), sides.max()) == (179, 224)
    # The mean of 256 * 224 / s over s: 256 * 224 / 64 * ln(320 / 256) = 199.9.
    assert sides.mean() == pytest.approx(199.9, abs=1.5)
    assert all(0 <= y <= 256 - side and 0 <= x <= 340 - side for y, x, side, _ in boxes)


def test_jittered_crops_may_lie_anywhere_in_the_frame():
    # One scale: a crop of 2 of 4 pixels, 3 places up and down and 5 across.
    places = [draw_jittered(s, 4, 6, scales=(8, 8), crop_size=4)[:2] for s in range(3000)]
    counts = np.zeros((3, 5))
    for place in places:
        counts[place] += 1
    # 200 each; 5 standard deviations are 68.
    assert (np.abs(counts - 200) < 68).all()


def test_jittered_crops_are_the_same_part_of_a_frame_decoded_at_another_size():
    for seed in range(50):
        side = draw_jittered(seed, 256, 340)[2]
        assert draw_jittered(seed, 1024, 1360)[2] == pytest.approx(4 * side, abs=2)
    assert draw_jittered(0, 1, 1, scales=(900, 900), crop_size=100) == (0, 0, 1, 1)


def test_a_description_with_scales_draws_jittered_crops():
    spec = AugmentSpec(jitter_scales=(256, 320), jitter_crop_size=224)
    view = spec.draw(256, 340, rng=make_rng(5))
    assert view.crop == draw_jittered(5)


def test_crops_of_the_shape_of_the_frame_have_its_ratio():
    whole = draw(0, 36, 72, scale_range=(1.0, 1.0), ratio_range=(1.0, 1.0), crop_shape="frame")
    assert whole.crop == (0, 0, 36, 72)
    spec = AugmentSpec(jitter_scales=(40, 80), jitter_crop_size=40, crop_shape="frame")
    for seed in range(50):
        _, _, height, width = spec.draw(360, 720, rng=make_rng(seed)).crop
        assert width == pytest.approx(2 * height, abs=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_shape": "round"}, "crop_shape must be one of square, frame, got 'round'"),
        ({"scale_range": (0.0, 1.0)}, "scale_range must satisfy"),
        ({"scale_range": (0.9, 0.5)}, "scale_range must satisfy"),
        ({"ratio_range": (2.0, 1.0)}, "ratio_range must satisfy"),
        ({"color_jitter": 1.5}, "color_jitter must be 0 .. 1, got 1.5"),
        ({"saturation_jitter": -0.1}, "saturation_jitter must be 0 .. 1, got -0.1"),
        ({"jitter_scales": (256, 320)}, "jitter_scales must .* with jitter_crop_size 0"),
        ({"jitter_scales": (320, 256), "jitter_crop_size": 224}, "must satisfy 0 < jitter_crop"),
        ({"jitter_scales": (200, 256), "jitter_crop_size": 224}, "got .200, 256. with"),
    ],
)
def test_wrong_ranges_are_input_errors(change, message):
    with pytest.raises(InputError, match=message):
        AugmentSpec(**change)


def draw_boxes(num_clips=500, **options):
    rng, spec = np.random.default_rng(0), RandomErasing(**options)
    return [spec.draw(rng) for _ in range(num_clips)]


def test_boxes_lie_inside_and_keep_to_the_ranges():
    drawn = draw_boxes(probability=1.0, area_range=(0.1, 0.3), ratio_range=(0.5, 2.0))
    boxes = np.array([erasing.box for (erasing,) in drawn])
    top, left, height, width = boxes.T
    assert boxes.min() >= 0
    assert max((top + height).max(), (left + width).max()) <= 1
    area, ratio = height * width, width / height
    assert 0.1 <= area.min() < 0.11 < 0.29 < area.max() <= 0.3
    assert 0.5 <= ratio.min() + 1e-9 < 0.53 < 1.9 < ratio.max() <= 2.0 + 1e-9
    assert np.log(ratio).mean() == pytest.approx(0.0, abs=0.1)


def test_several_boxes_share_the_area():
    for erasings in draw_boxes(probability=1.0, area_range=(0.3, 0.3), num_boxes=3):
        assert len(erasings) == 3
        assert all(e.box[2] * e.box[3] == pytest.approx(0.1) for e in erasings)


def test_the_probability_is_kept_to():
    assert 85 < sum(bool(erasings) for erasings in draw_boxes(probability=0.25)) < 165
    assert not any(draw_boxes(probability=0.0))


def test_boxes_that_do_not_fit_are_left_out():
    assert set(draw_boxes(20, probability=1.0, area_range=(1.0, 1.0), ratio_range=(4.0, 4.0))) == {
        ()
    }


def test_colours_are_random_or_as_told():
    fills = [erasing.fill for (erasing,) in draw_boxes(probability=1.0)]
    assert len(set(fills)) > 490
    assert 0 <= np.min(fills) < 5 < 250 < np.max(fills) <= 255
    grey = draw_boxes(50, probability=1.0, fill=(1, 2, 3))
    assert {erasing.fill for (erasing,) in grey} == {(1, 2, 3)}


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
def test_wrong_options_of_erasing_are_input_errors(options, message):
    with pytest.raises(InputError, match=message):
        RandomErasing(**options)
