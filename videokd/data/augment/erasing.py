"""Random erasing (Zhong et al. 2017): boxes of one colour painted over a clip."""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from videokd.data.augment.params import Erasing
from videokd.utils.errors import InputError

_NUM_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class RandomErasing:
    """Distribution of erased boxes.

    Args:
        probability: Probability that a clip has boxes, 0.0 .. 1.0.
        area_range: Smallest and largest total area of all boxes as a share of the clip, in (0, 1].
            The area is drawn for each box and divided by num_boxes.
        ratio_range: Smallest and largest width / height; drawn on a log scale.
        num_boxes: Boxes in a clip, > 0. They may overlap.
        fill: Red, green and blue of all boxes, 0 .. 255; None for a random colour per box.

    Raises:
        InputError: a value is not allowed.
    """

    probability: float = 0.25
    area_range: tuple[float, float] = (0.02, 1 / 3)
    ratio_range: tuple[float, float] = (0.3, 10 / 3)
    num_boxes: int = 1
    fill: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise InputError(f"erasing probability must be 0 .. 1, got {self.probability}")
        if not 0.0 < self.area_range[0] <= self.area_range[1] <= 1.0:
            raise InputError(
                f"erasing area_range must satisfy 0 < low <= high <= 1, got {self.area_range}"
            )
        if not 0.0 < self.ratio_range[0] <= self.ratio_range[1]:
            raise InputError(
                f"erasing ratio_range must satisfy 0 < low <= high, got {self.ratio_range}"
            )
        if self.num_boxes <= 0:
            raise InputError(f"erasing num_boxes must be > 0, got {self.num_boxes}")
        if self.fill is not None and not all(0 <= value <= 255 for value in self.fill):
            raise InputError(f"erasing fill must be 0 .. 255, got {self.fill}")

    def draw(self, rng: np.random.Generator) -> tuple[Erasing, ...]:
        """Draw the boxes of a clip; () with probability 1 - ``probability``."""
        if rng.random() >= self.probability:
            return ()
        boxes = (self._draw_box(rng) for _ in range(self.num_boxes))
        return tuple(box for box in boxes if box is not None)

    def _draw_box(self, rng: np.random.Generator) -> Erasing | None:
        """Draw one box, or return None if none of 10 attempts fits in the clip."""
        log_ratio = (math.log(self.ratio_range[0]), math.log(self.ratio_range[1]))
        for _ in range(_NUM_ATTEMPTS):
            area = rng.uniform(*self.area_range) / self.num_boxes
            ratio = math.exp(rng.uniform(*log_ratio))
            height, width = math.sqrt(area / ratio), math.sqrt(area * ratio)
            if height <= 1.0 and width <= 1.0:
                top, left = (1.0 - height) * rng.random(), (1.0 - width) * rng.random()
                red, green, blue = self.fill or rng.integers(0, 256, size=3).tolist()
                return Erasing((top, left, height, width), (red, green, blue))
        return None


def erase(clip: Tensor, erasings: tuple[Erasing, ...]) -> Tensor:
    """Paint the boxes over all frames of a clip.

    Args:
        clip: (3, T, H, W) uint8, on any device.
        erasings: Boxes, painted in this order.

    Returns:
        (3, T, H, W) uint8; a copy if there is any box.
    """
    if erasings:
        clip = clip.clone()
    for erasing in erasings:
        top, left, height, width = erasing.pixels(*clip.shape[2:])
        for channel, value in zip(clip, erasing.fill, strict=True):
            channel[:, top : top + height, left : left + width] = value
    return clip
