"""Augmentation in two halves: draw parameters, apply parameters.

A drawn `ViewParams` travels with its clip, so that a view can be replayed and a teacher's cached
target checked against it. Applying is deterministic. Normalisation is not done here: clips stay
uint8 until they are on the device.
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
