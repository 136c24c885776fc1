from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from videokd.data.augment import (
    Augmentation,
    Erasing,
    RandAugment,
    apply_augmentation,
    apply_augmentations_on_device,
)
from videokd.data.augment.augmentation import adjust_brightness_contrast, erase
from videokd.data.augment.rand_augment import OPS
from videokd.utils.errors import InputError


def as_batch(*videos):
    """Stack (T, H, W, 3) frames to (B, 3, T, H, W)."""
    return torch.stack([torch.from_numpy(frames).permute(3, 0, 1, 2) for frames in videos])


def test_a_crop_of_the_right_size_is_cut_without_resampling(frames):
    clip = apply_augmentation(frames, Augmentation((3, 5, 16, 16)), size=16)
    expected = frames[:, 3:19, 5:21].transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(clip.numpy(), expected)
    assert clip.is_contiguous()


def test_flip_mirrors_left_and_right(frames):
    view = Augmentation((0, 0, 20, 20))
    clip = apply_augmentation(frames, view, size=20)
    flipped = apply_augmentation(frames, replace(view, flip=True), size=20)
    assert torch.equal(flipped, clip.flip(-1))


def test_colours_equal_a_loop_over_values(frames):
    view = Augmentation((0, 0, 20, 20), brightness=1.3, contrast=0.6)
    plain = apply_augmentation(frames, Augmentation(view.crop), size=20)
    bright = plain.double().mul(1.3).clamp(0, 255)
    expected = (0.6 * bright + 0.4 * bright.mean()).round().clamp(0, 255)
    assert torch.equal(apply_augmentation(frames, view, size=20), expected.to(torch.uint8))


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 200
    clip = apply_augmentation(stripes, Augmentation((0, 0, 64, 64)), size=16)
    assert clip[..., 1:-1].float().sub(100).abs().max() <= 1


def test_a_replayed_view_gives_the_same_clip_and_leaves_the_frames_alone(frames, draw_full_view):
    for seed in range(10):
        view = draw_full_view(seed)
        before = frames.copy()
        clip = apply_augmentation(frames, view, size=24)
        assert clip.shape == (3, 4, 24, 24)
        assert clip.dtype == torch.uint8
        assert clip.is_contiguous()
        assert torch.equal(apply_augmentation(frames, view, size=24), clip)
        np.testing.assert_array_equal(frames, before)


def test_no_saturation_is_grey_and_the_full_one_changes_nothing(frames):
    view = Augmentation((0, 0, 20, 20))
    clip = apply_augmentation(frames, view, size=20)
    grey = apply_augmentation(frames, replace(view, saturation=0.0), size=20)
    red, green, blue = clip.double()
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert (grey - luma).abs().max() < 1.1  # torchvision rounds down, and its weights to 4 digits
    assert torch.equal(apply_augmentation(frames, replace(view, saturation=1.0), size=20), clip)


def test_erasing_comes_last_and_the_flip_first(frames):
    view = Augmentation(
        (0, 0, 20, 20),
        flip=True,
        brightness=0.5,
        ops=(("translate_x", 0.5),),
        erasings=(Erasing((0.0, 0.0, 0.5, 1.0), (200, 100, 50)),),
    )
    clip = apply_augmentation(frames, view, size=20)
    assert clip[:, 0, 0, 0].tolist() == [200, 100, 50]
    assert (clip[:, :, 10:, :10] == 64).all()  # half of the 128 that came in from the left
    plain = apply_augmentation(frames, Augmentation(view.crop, brightness=0.5), size=20)
    assert torch.equal(clip[:, :, 10:, 10:], plain.flip(-1)[:, :, 10:, :10])


@pytest.mark.parametrize("size", [12, 20, 33])
def test_both_ways_give_the_same_bytes(frames, draw_full_view, size):
    videos = [frames, 255 - frames, frames // 2]
    for seed in range(0, 30, 3):
        views = [draw_full_view(seed + k) for k in range(3)]
        expected = [apply_augmentation(f, v, size=size) for f, v in zip(videos, views, strict=True)]
        clips = as_batch(*videos)
        before = clips.clone()
        made = apply_augmentations_on_device(clips, views, size=size)
        assert made.is_contiguous()
        assert torch.equal(made, torch.stack(expected))
        assert torch.equal(clips, before)


@pytest.mark.parametrize("name", OPS)
def test_both_ways_give_the_same_bytes_for_each_operation(frames, name):
    drawn = RandAugment(num_ops=200).draw(np.random.default_rng(0))
    ops = [op for op in drawn if op[0] == name]
    assert len(ops) > 5
    for op in ops[:5]:
        view = Augmentation((2, 3, 15, 17), ops=(op,))
        expected = apply_augmentation(frames, view, size=16)
        assert torch.equal(
            apply_augmentations_on_device(as_batch(frames), [view], size=16)[0], expected
        )


def test_autocast_changes_nothing(frames, draw_full_view):
    views = [replace(draw_full_view(0), ops=(("sharpness", 1.8), ("rotate", 10.0)))]
    expected = apply_augmentations_on_device(as_batch(frames), views, size=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(
            apply_augmentations_on_device(as_batch(frames), views, size=16), expected
        )


def test_no_clips_are_no_clips():
    clips = torch.empty((0, 3, 4, 20, 30), dtype=torch.uint8)
    assert apply_augmentations_on_device(clips, [], size=16).shape == (0, 3, 4, 16, 16)


def test_a_view_at_another_size_shows_the_same():
    # A smooth picture, so that what differs is only where pixels lie.
    rows, columns = np.arange(160)[:, None], np.arange(200)
    waves = [np.sin(rows / 30 + c) + np.cos(columns / 40 - c) for c in range(3)]
    picture = (127 + 60 * np.stack(waves, axis=-1)).astype(np.uint8)
    frames = np.stack([picture, picture[::-1]])
    view = Augmentation(
        (10, 20, 130, 150),
        flip=True,
        brightness=1.2,
        contrast=0.8,
        saturation=1.3,
        ops=(("rotate", 15.0), ("translate_x", 0.2), ("shear_y", 0.1), ("color", 0.7)),
        erasings=(Erasing((0.25, 0.5, 0.25, 0.25), (255, 0, 128)),),
    )
    small = apply_augmentation(frames, view, size=64).float()
    large = apply_augmentation(frames, view, size=192).float()
    shrunk = torch.nn.functional.avg_pool2d(large, 3)
    # Only along the borders of the warps and of the erased box can pixels differ much.
    assert (shrunk - small).abs().median() <= 1
    assert (shrunk - small).abs().mean() < 2
    moved = replace(view, ops=(("rotate", 15.0), ("translate_x", 0.3), *view.ops[2:]))
    other = apply_augmentation(frames, moved, size=64).float()
    assert (shrunk - other).abs().mean() > 4
    assert small[:, 0, 24, 40].tolist() == [255, 0, 128]
    assert large[:, 0, 72, 120].tolist() == [255, 0, 128]


def test_a_view_of_read_only_frames_can_be_taken(frames):
    frames.setflags(write=False)
    assert apply_augmentation(frames, Augmentation((0, 0, 20, 30)), size=20).shape == (3, 4, 20, 20)


def test_a_crop_outside_the_frames_is_an_input_error(frames):
    with pytest.raises(InputError, match="leaves frames of 20x30"):
        apply_augmentation(frames, Augmentation((5, 0, 16, 16)), size=16)
    clips = as_batch(frames, frames)
    good, bad = Augmentation((0, 0, 16, 16)), Augmentation((0, -1, 16, 16))
    with pytest.raises(InputError, match="leaves frames of 20x30"):
        apply_augmentations_on_device(clips, [good, bad], size=16)


def test_a_number_of_views_that_is_not_that_of_the_clips_is_an_input_error(frames):
    with pytest.raises(InputError, match="2 clips need as many augmentations, got 1"):
        apply_augmentations_on_device(
            as_batch(frames, frames), [Augmentation((0, 0, 9, 9))], size=9
        )


@pytest.mark.parametrize("brightness", [0.0, 0.37, 1.0, 1.9])
@pytest.mark.parametrize("contrast", [0.0, 0.61, 1.0, 1.7])
def test_values_equal_a_loop(clip, brightness, contrast):
    values = clip.flatten().tolist()
    bright = [min(v * brightness, 255.0) for v in values]
    mean = sum(bright) / len(bright)
    mixed = [contrast * b + (1.0 - contrast) * mean for b in bright]
    expected = np.clip(np.rint(mixed), 0, 255).astype(np.uint8).reshape(clip.shape)
    adjusted = adjust_brightness_contrast(clip, brightness, contrast)
    assert adjusted.dtype == torch.uint8
    np.testing.assert_array_equal(adjusted.numpy(), expected)


def test_no_contrast_is_the_mean_of_the_whole_clip():
    clip = torch.tensor([0, 10, 20, 250], dtype=torch.uint8).view(1, 2, 1, 2).expand(3, 2, 1, 2)
    assert (adjust_brightness_contrast(clip, 1.0, 0.0) == 70).all()


def test_factors_of_one_change_nothing(clip):
    assert torch.equal(adjust_brightness_contrast(clip, 1.0, 1.0), clip)


def test_no_value_on_the_device_is_read(clip):
    # Reading one from a meta tensor, which has none, is an error.
    assert adjust_brightness_contrast(clip.to("meta"), 1.2, 0.8).shape == clip.shape


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


def test_an_augmentation_cannot_be_changed():
    with pytest.raises(FrozenInstanceError, match="flip"):
        Augmentation((0, 0, 1, 1)).flip = True
