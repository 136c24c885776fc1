"""Views cut on a device are those that a worker cuts; the CPU stands in where there is no GPU."""

import numpy as np
import pytest
import torch

from videokd.data.augment import (
    Augmentation,
    AugmentSpec,
    RandAugment,
    RandomErasing,
    apply_augmentation,
    apply_augmentations_on_device,
)
from videokd.data.augment.rand_augment import OPS


def _make_videos(count):
    return np.random.default_rng(0).integers(0, 256, (count, 4, 60, 80, 3), dtype=np.uint8)


def _apply_both(videos, views, device):
    expected = torch.stack(
        [apply_augmentation(f, v, size=32) for f, v in zip(videos, views, strict=True)]
    )
    clips = torch.from_numpy(videos).permute(0, 4, 1, 2, 3).to(device)
    return apply_augmentations_on_device(clips, views, size=32).cpu(), expected


def test_geometry_brightness_contrast_and_erasing_are_the_workers_bytes(device):
    spec = AugmentSpec(flip=True, color_jitter=0.4, erasing=RandomErasing(probability=1.0))
    views = [spec.draw(60, 80, rng=np.random.default_rng(seed)) for seed in range(20)]
    made, expected = _apply_both(_make_videos(20), views, device)
    assert torch.equal(made, expected)


@pytest.mark.parametrize("name", OPS)
def test_an_operation_differs_by_one_level_at_most(device, name):
    drawn = RandAugment(num_ops=200).draw(np.random.default_rng(0))
    views = [Augmentation((4, 6, 50, 60), ops=(op,)) for op in drawn if op[0] == name][:4]
    made, expected = _apply_both(_make_videos(len(views)), views, device)
    assert (made.int() - expected.int()).abs().max() <= 1


def test_saturation_differs_by_one_level_at_most(device):
    views = [Augmentation((4, 6, 50, 60), saturation=factor) for factor in (0.2, 0.9, 1.8)]
    made, expected = _apply_both(_make_videos(3), views, device)
    assert (made.int() - expected.int()).abs().max() <= 1
