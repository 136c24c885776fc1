"""Augmentation in two steps: drawing parameters and applying them.

The drawn `ViewParams` stay with their clip, so that a view can be replayed and checked against a
cached teacher target. Applying is deterministic. Clips are not normalised here; they stay uint8
until they are on the device.
"""

from videokd.data.augment.apply import apply_view, apply_views_on_device
from videokd.data.augment.draw import (
    AugmentSpec,
    center_view,
    draw_jittered_crop,
    draw_resized_crop,
)
from videokd.data.augment.erasing import RandomErasing
from videokd.data.augment.params import Erasing, ViewParams
from videokd.data.augment.rand_augment import OPS, RandAugment

__all__ = [
    "OPS",
    "AugmentSpec",
    "Erasing",
    "RandAugment",
    "RandomErasing",
    "ViewParams",
    "apply_view",
    "apply_views_on_device",
    "center_view",
    "draw_jittered_crop",
    "draw_resized_crop",
]
