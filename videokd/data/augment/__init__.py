"""Augmentation in two steps: drawing parameters and applying them.

The drawn `Augmentation` stays with its clips, so that they can be replayed and checked against a
cached teacher target. Applying is deterministic. Clips are not normalised here; they stay uint8
until they are on the device.
"""

from videokd.data.augment.apply import apply_augmentation, apply_augmentations_on_device
from videokd.data.augment.draw import (
    AugmentSpec,
    center_crop,
    draw_jittered_crop,
    draw_resized_crop,
)
from videokd.data.augment.erasing import RandomErasing
from videokd.data.augment.params import Augmentation, Erasing
from videokd.data.augment.rand_augment import OPS, RandAugment

__all__ = [
    "OPS",
    "AugmentSpec",
    "Erasing",
    "RandAugment",
    "RandomErasing",
    "Augmentation",
    "apply_augmentation",
    "apply_augmentations_on_device",
    "center_crop",
    "draw_jittered_crop",
    "draw_resized_crop",
]
