"""Augmentation in two steps: drawing parameters and applying them.

The drawn `Augmentation` stays with its clips, so that they can be replayed and checked against a
cached teacher target. Applying is deterministic. Clips are not normalised here; they stay uint8
until they are on the device.
"""

from videokd.data.augment.augmentation import (
    CROP_SHAPES,
    FRAME,
    NUM_CROPS,
    SQUARE,
    Augmentation,
    Box,
    Erasing,
    apply_augmentation,
    apply_augmentations_on_device,
    center_crop,
    uniform_crop_boxes,
)
from videokd.data.augment.draw import AugmentSpec, RandomErasing
from videokd.data.augment.rand_augment import RandAugment

__all__ = [
    "CROP_SHAPES",
    "FRAME",
    "NUM_CROPS",
    "SQUARE",
    "AugmentSpec",
    "Augmentation",
    "Box",
    "Erasing",
    "RandAugment",
    "RandomErasing",
    "apply_augmentation",
    "apply_augmentations_on_device",
    "center_crop",
    "uniform_crop_boxes",
]
