import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from videokd.data.augment import ViewParams, apply_view, center_view, draw_view
from videokd.utils.errors import InputError

RANGES = {"scale_range": (0.4, 0.9), "ratio_range": (0.75, 1.5), "flip": True, "color_jitter": 0.3}


def draw(seed=0, height=56, width=75, **changes):
    return draw_view(height, width, rng=np.random.default_rng(seed), **(RANGES | changes))


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)


def test_drawn_crops_lie_inside_and_keep_to_the_ranges():
    for seed in range(200):
        top, left, height, width = draw(seed).crop
        assert 0 <= top <= 56 - height
        assert 0 <= left <= 75 - width
        assert 0.37 <= height * width / (56 * 75) <= 0.93
        assert 0.72 <= width / height <= 1.56


def test_drawn_factors_and_flips_keep_to_their_ranges():
    views = [draw(seed) for seed in range(300)]
    factors = [f for view in views for f in (view.brightness, view.contrast)]
    assert 0.7 <= min(factors) < 0.75 < 1.25 < max(factors) <= 1.3
    assert 110 < sum(view.flip for view in views) < 190


def test_switching_augmentations_off_leaves_the_crop_alone():
    plain = draw(3, flip=False, color_jitter=0.0)
    assert plain == ViewParams(draw(3).crop)


def test_a_frame_too_long_for_the_ratios_gets_the_largest_central_crop():
    assert draw(height=10, width=1000, scale_range=(0.9, 1.0)).crop == (0, 492, 10, 15)
    assert draw(height=1000, width=12, scale_range=(0.9, 1.0)).crop == (492, 0, 16, 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale_range": (0.0, 1.0)}, "scale_range must satisfy"),
        ({"scale_range": (0.9, 0.5)}, "scale_range must satisfy"),
        ({"ratio_range": (2.0, 1.0)}, "ratio_range must satisfy"),
        ({"color_jitter": 1.5}, "color_jitter must be 0 .. 1, got 1.5"),
    ],
)
def test_wrong_ranges_are_input_errors(change, message):
    with pytest.raises(InputError, match=message):
        draw(**change)


def test_a_crop_of_the_right_size_is_cut_without_resampling(frames):
    clip = apply_view(frames, ViewParams((3, 5, 16, 16)), size=16)
    expected = frames[:, 3:19, 5:21].transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(clip.numpy(), expected)
    assert clip.is_contiguous()


def test_flip_mirrors_left_and_right(frames):
    view = ViewParams((0, 0, 20, 20))
    clip = apply_view(frames, view, size=20)
    flipped = apply_view(frames, replace(view, flip=True), size=20)
    assert torch.equal(flipped, clip.flip(-1))


def test_colours_equal_a_loop_over_values(frames):
    view = ViewParams((0, 0, 20, 20), brightness=1.3, contrast=0.6)
    plain = apply_view(frames, ViewParams(view.crop), size=20)
    bright = plain.double().mul(1.3).clamp(0, 255)
    expected = (0.6 * bright + 0.4 * bright.mean()).round().clamp(0, 255)
    assert torch.equal(apply_view(frames, view, size=20), expected.to(torch.uint8))


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 200
    clip = apply_view(stripes, ViewParams((0, 0, 64, 64)), size=16)
    assert clip[..., 1:-1].float().sub(100).abs().max() <= 1


def test_a_replayed_view_gives_the_same_clip_and_leaves_the_frames_alone(frames):
    view = draw(5, height=20, width=30)
    before = frames.copy()
    clip = apply_view(frames, view, size=24)
    assert clip.shape == (3, 4, 24, 24)
    assert clip.dtype == torch.uint8
    assert torch.equal(apply_view(frames, view, size=24), clip)
    np.testing.assert_array_equal(frames, before)


def test_a_view_of_read_only_frames_can_be_taken(frames):
    frames.setflags(write=False)
    assert apply_view(frames, ViewParams((0, 0, 20, 30)), size=20).shape == (3, 4, 20, 20)


def test_the_centre_view_is_the_central_square():
    assert center_view(20, 30, 16) == ViewParams((2, 7, 16, 16))


def test_a_crop_outside_the_frames_is_an_input_error(frames):
    with pytest.raises(InputError, match="leaves frames of 20x30"):
        apply_view(frames, ViewParams((5, 0, 16, 16)), size=16)


def test_ratios_are_drawn_evenly_on_a_log_scale():
    ratios = [math.log(w / h) for _, _, h, w in (draw(s, 400, 400).crop for s in range(400))]
    assert np.mean(ratios) == pytest.approx((math.log(0.75) + math.log(1.5)) / 2, abs=0.05)
