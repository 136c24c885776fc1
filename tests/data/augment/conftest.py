"""Frames and clips of bytes, and views with every part drawn."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from videokd.data.augment import Augmentation, AugmentSpec, RandAugment, RandomErasing


@pytest.fixture
def frames() -> NDArray[np.uint8]:
    """(4, 20, 30, 3) of noise."""
    return np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)


@pytest.fixture
def clip() -> torch.Tensor:
    """(3, 4, 12, 10) of noise."""
    values = np.random.default_rng(1).integers(0, 256, (3, 4, 12, 10), dtype=np.uint8)
    return torch.from_numpy(values)


@pytest.fixture
def draw_full_view() -> Callable[[int], Augmentation]:
    """Give a function: seed -> a view of frames of 20 x 30 with everything on."""
    spec = AugmentSpec(
        flip=True,
        color_jitter=0.4,
        saturation_jitter=0.4,
        rand_augment=RandAugment(),
        erasing=RandomErasing(probability=1.0, num_boxes=2),
    )
    return lambda seed: spec.draw(20, 30, rng=np.random.default_rng(seed))
