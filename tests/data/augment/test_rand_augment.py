from collections import Counter

import numpy as np
import pytest
import torch

from videokd.data.augment.rand_augment import OPS, RandAugment, apply_op
from videokd.utils.errors import InputError

STRONGEST = {
    "identity": {0.0},
    "shear_x": {-0.3, 0.3},
    "shear_y": {-0.3, 0.3},
    "translate_x": {-150 / 331, 150 / 331},
    "translate_y": {-150 / 331, 150 / 331},
    "rotate": {-30.0, 30.0},
    "brightness": {0.1, 1.9},
    "color": {0.1, 1.9},
    "contrast": {0.1, 1.9},
    "sharpness": {0.1, 1.9},
    "posterize": {4.0},
    "solarize": {0.0},
    "autocontrast": {0.0},
    "equalize": {0.0},
}
WEAKEST = {name: {0.0} for name in STRONGEST} | {
    **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), {1.0}),
    "posterize": {8.0},
    "solarize": {255.0},
}
MEDIUM = {
    "shear_x": 0.2,
    "shear_y": -0.2,
    "translate_x": 0.3,
    "translate_y": -0.3,
    "rotate": 20.0,
    "posterize": 5.0,
    "solarize": 100.0,
    **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), 1.5),
}


def draw_many(num_clips=2000, **options):
    rng, spec = np.random.default_rng(0), RandAugment(**options)
    return [spec.draw(rng) for _ in range(num_clips)]


def ramp(height=6, width=8):
    """Make a clip (3, 1, H, W) in which the value says where a pixel is: 10 * row + column."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return (10 * rows + columns).to(torch.uint8).expand(3, 1, -1, -1).contiguous()


@pytest.mark.parametrize(("magnitude", "expected"), [(10.0, STRONGEST), (0.0, WEAKEST)])
def test_values_at_the_ends_of_the_scale(magnitude, expected):
    drawn = {name: set() for name in OPS}
    for ops in draw_many(magnitude=magnitude, magnitude_std=0.0):
        for name, value in ops:
            drawn[name].add(round(value, 12))
    assert drawn == {name: {round(v, 12) for v in values} for name, values in expected.items()}


def test_operations_and_signs_are_equally_likely():
    ops = [op for ops in draw_many(num_clips=3500, num_ops=4) for op in ops]
    counts = Counter(name for name, _ in ops)
    # 1000 each; 5 standard deviations are 152.
    assert set(counts) == set(STRONGEST)
    assert all(abs(count - 1000) < 152 for count in counts.values())
    turns = [value for name, value in ops if name == "rotate"]
    assert 0.42 < np.mean(np.array(turns) > 0) < 0.58


def test_magnitudes_are_normal_and_stay_on_the_scale():
    turns = [
        abs(value) / 3
        for ops in draw_many(num_ops=20, magnitude=5.0, magnitude_std=1.0)
        for name, value in ops
        if name == "rotate"
    ]
    assert np.mean(turns) == pytest.approx(5.0, abs=0.1)
    assert np.std(turns) == pytest.approx(1.0, abs=0.1)
    wild = draw_many(num_ops=20, magnitude=9.0, magnitude_std=9.0)
    turns = [abs(value) for ops in wild for name, value in ops if name == "rotate"]
    assert (min(turns), max(turns)) == (0.0, 30.0)


def test_the_number_of_operations_is_kept_to():
    assert {len(ops) for ops in draw_many(50, num_ops=3)} == {3}


@pytest.mark.parametrize("name", OPS)
def test_an_operation_replayed_gives_the_same_clip_and_leaves_its_input_alone(clip, name):
    clip = 20 + clip // 2
    before = clip.clone()
    changed = apply_op(clip, name, MEDIUM.get(name, 0.0))
    assert changed.shape == clip.shape
    assert changed.dtype == torch.uint8
    assert changed.is_contiguous()
    assert torch.equal(apply_op(clip, name, MEDIUM.get(name, 0.0)), changed)
    assert torch.equal(clip, before)
    assert (name == "identity") == torch.equal(changed, clip)


@pytest.mark.parametrize("name", OPS)
def test_all_frames_are_treated_the_same(clip, name):
    turned = [2, 0, 3, 1]
    changed = apply_op(clip, name, MEDIUM.get(name, 0.0))
    assert torch.equal(apply_op(clip[:, turned], name, MEDIUM.get(name, 0.0)), changed[:, turned])


@pytest.mark.parametrize("name", ["contrast", "autocontrast", "equalize"])
def test_a_value_does_not_flicker_when_another_frame_is_bright(clip, name):
    clip[:, 0], clip[:, 1] = clip[:, 0] // 3, 128 + clip[:, 1] // 3
    clip[:, :, 0, 0] = 77
    corner = apply_op(clip, name, MEDIUM.get(name, 0.0))[:, :, 0, 0]
    assert torch.equal(corner, corner[:, :1].expand_as(corner))


def test_translations_by_hand():
    clip = ramp()
    right = apply_op(clip, "translate_x", 0.25)
    assert (right[..., :2] == 128).all()
    assert torch.equal(right[..., 2:], clip[..., :-2])
    up = apply_op(clip, "translate_y", -0.5)
    assert torch.equal(up[..., :3, :], clip[..., 3:, :])
    assert (up[..., 3:, :] == 128).all()


def test_rotations_are_counter_clockwise():
    clip = ramp(6, 6)
    assert torch.equal(apply_op(clip, "rotate", 90.0), torch.rot90(clip, 1, dims=(2, 3)))


@pytest.mark.parametrize(("name", "turn"), [("shear_x", False), ("shear_y", True)])
def test_shears_move_the_middle_of_line_n_by_n_and_a_half_tangents(name, turn):
    clip = 4 * torch.arange(40, dtype=torch.uint8).expand(3, 1, 8, 40)
    sheared = apply_op((clip.mT if turn else clip).contiguous(), name, 0.5)
    sheared = sheared.mT if turn else sheared
    for n in range(8):
        # 4 levels a pixel, so 2 * (n + 1/2) = 2 n + 1 levels; away from the border.
        assert torch.equal(sheared[:, :, n, :30], clip[:, :, n, :30] + 2 * n + 1)


def test_changes_of_single_values_by_hand():
    values = torch.tensor([0, 15, 16, 127, 128, 255], dtype=torch.uint8)
    clip = values.view(1, 1, 1, 6).expand(3, 2, 1, 6).contiguous()
    expected = {
        ("posterize", 4.0): [0, 0, 16, 112, 128, 240],
        ("solarize", 128.0): [0, 15, 16, 127, 127, 0],
        ("brightness", 0.5): [0, 7, 8, 63, 64, 127],
        ("brightness", 1.9): [0, 28, 30, 241, 243, 255],
    }
    for (name, value), numbers in expected.items():
        assert apply_op(clip, name, value)[2, 1, 0].tolist() == numbers


def test_autocontrast_stretches_the_range_of_the_clip():
    clip = torch.tensor([60, 90, 110, 160], dtype=torch.uint8).view(1, 2, 1, 2)
    stretched = apply_op(clip.expand(3, 2, 1, 2).contiguous(), "autocontrast", 0.0)
    # (v - 60) * 255 / 100, rounded down in float32.
    assert stretched[0].flatten().tolist() == pytest.approx([0, 76, 127, 255], abs=1)


def test_no_colour_is_grey(clip):
    grey = apply_op(clip, "color", 0.0)
    assert torch.equal(grey, grey[:1].expand_as(grey))


def test_an_even_picture_has_nothing_to_sharpen():
    clip = torch.full((3, 2, 5, 5), 93, dtype=torch.uint8)
    assert torch.equal(apply_op(clip, "sharpness", 1.9), clip)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_ops": 0}, "num_ops must be > 0, got 0"),
        ({"magnitude": 10.5}, r"magnitude must be 0 \.\. 10, got 10.5"),
        ({"magnitude_std": -1.0}, "magnitude_std must be >= 0, got -1.0"),
    ],
)
def test_wrong_options_are_input_errors(options, message):
    with pytest.raises(InputError, match=message):
        RandAugment(**options)


def test_an_unknown_operation_is_an_input_error(clip):
    with pytest.raises(InputError, match="no operation 'invert'; there are identity, shear_x"):
        apply_op(clip, "invert", 0.0)
