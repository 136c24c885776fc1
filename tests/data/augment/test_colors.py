import numpy as np
import pytest
import torch

from videokd.data.augment.colors import adjust_brightness_contrast


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
