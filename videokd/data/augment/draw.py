"""Random drawing of the augmentations of training clips."""

import math
from dataclasses import dataclass

import numpy as np

from videokd.data.augment.augmentation import (
    CROP_SHAPES,
    FRAME,
    SQUARE,
    Augmentation,
    Box,
    Erasing,
    scale_crop,
)
from videokd.data.augment.rand_augment import RandAugment
from videokd.utils.errors import InputError

_NUM_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class RandomErasing:
    """Distribution of erased boxes (Zhong et al. 2017).

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


@dataclass(frozen=True, slots=True)
class AugmentSpec:
    """Distribution of the augmentations of training clips.

    The crop is a resized crop of random area and aspect ratio (Szegedy et al. 2015) or, with
    jitter_scales, a square from a frame whose short side is jittered (PySlowFast's
    TRAIN_JITTER_SCALES); see `draw_resized_crop` and `draw_jittered_crop`.

    Args:
        scale_range: Smallest and largest area of the crop as a share of the frame, in (0, 1].
        ratio_range: Smallest and largest width / height of the crop, with crop_shape "frame" over
            that of the frame; drawn on a log scale.
        crop_shape: "square", or "frame" for crops of the shape of the frame.
        flip: Mirror half of the clips. If classes depend on left and right, it must be off, or the
            labels of mirrored clips (`Augmentation.flip`) must be swapped.
        color_jitter: Brightness and contrast are drawn from 1 - color_jitter .. 1 + color_jitter;
            0.0 .. 1.0.
        saturation_jitter: Same for saturation; 0.0 .. 1.0.
        jitter_scales: Smallest and largest short side that a frame is scaled to before a crop of
            jitter_crop_size is taken, pixels; None for resized crops.
        jitter_crop_size: Side of that crop, pixels, > 0 and at most the smallest scale. Only its
            ratio to the scale matters: clips may have any size.
        rand_augment: RandAugment, or None.
        erasing: Random erasing, or None.

    Raises:
        InputError: a range is empty or out of bounds.
    """

    scale_range: tuple[float, float] = (0.5, 1.0)
    ratio_range: tuple[float, float] = (3 / 4, 4 / 3)
    crop_shape: str = SQUARE
    flip: bool = False
    color_jitter: float = 0.0
    saturation_jitter: float = 0.0
    jitter_scales: tuple[float, float] | None = None
    jitter_crop_size: int = 0
    rand_augment: RandAugment | None = None
    erasing: RandomErasing | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.scale_range[0] <= self.scale_range[1] <= 1.0:
            raise InputError(
                f"scale_range must satisfy 0 < low <= high <= 1, got {self.scale_range}"
            )
        if not 0.0 < self.ratio_range[0] <= self.ratio_range[1]:
            raise InputError(f"ratio_range must satisfy 0 < low <= high, got {self.ratio_range}")
        for name, jitter in (
            ("color_jitter", self.color_jitter),
            ("saturation_jitter", self.saturation_jitter),
        ):
            if not 0.0 <= jitter <= 1.0:
                raise InputError(f"{name} must be 0 .. 1, got {jitter}")
        if self.crop_shape not in CROP_SHAPES:
            raise InputError(
                f"crop_shape must be one of {', '.join(CROP_SHAPES)}, got {self.crop_shape!r}"
            )
        if self.jitter_scales is not None:
            low, high = self.jitter_scales
            if not 0 < self.jitter_crop_size <= low <= high:
                raise InputError(
                    "jitter_scales must satisfy 0 < jitter_crop_size <= low <= high, got "
                    f"{self.jitter_scales} with jitter_crop_size {self.jitter_crop_size}"
                )

    def draw(self, height: int, width: int, *, rng: np.random.Generator) -> Augmentation:
        """Draw the augmentation of a clip from frames of this size.

        All numbers are drawn even when unused, and crop, RandAugment, erasing and the four scalars
        have separate generators, so that switching one augmentation does not change the others.

        Args:
            height: Height of the decoded frames, pixels.
            width: Width of the decoded frames, pixels.
            rng: Source of all randomness; must be seeded, as by `np.random.default_rng`.
        """
        if self.jitter_scales is None:
            ratio = width / height if self.crop_shape == FRAME else 1.0
            crop = draw_resized_crop(
                height,
                width,
                rng=rng,
                scale_range=self.scale_range,
                ratio_range=(self.ratio_range[0] * ratio, self.ratio_range[1] * ratio),
            )
        else:
            crop = draw_jittered_crop(
                height,
                width,
                rng=rng,
                scales=self.jitter_scales,
                crop_size=self.jitter_crop_size,
                shape=self.crop_shape,
            )
        # The crop draws a varying number of values from rng, so nothing else may draw after it.
        ops_rng, erasing_rng, scalar_rng = rng.spawn(3)
        flip, brightness, contrast, saturation = scalar_rng.random(4).tolist()
        return Augmentation(
            crop,
            flip=self.flip and flip < 0.5,
            brightness=1.0 + self.color_jitter * (2.0 * brightness - 1.0),
            contrast=1.0 + self.color_jitter * (2.0 * contrast - 1.0),
            saturation=1.0 + self.saturation_jitter * (2.0 * saturation - 1.0),
            ops=self.rand_augment.draw(ops_rng) if self.rand_augment else (),
            erasings=self.erasing.draw(erasing_rng) if self.erasing else (),
        )


def draw_resized_crop(
    height: int,
    width: int,
    *,
    rng: np.random.Generator,
    scale_range: tuple[float, float],
    ratio_range: tuple[float, float],
) -> Box:
    """Draw a crop of random area and aspect ratio, to be resized to a square.

    Area and ratio are redrawn until the crop fits. After 10 attempts (a frame much longer than the
    ratios allow), the largest central crop of an allowed ratio is returned.

    Args:
        height: Height of the decoded frames, pixels.
        width: Width of the decoded frames, pixels.
        rng: Source of all randomness.
        scale_range: Smallest and largest area as a share of the frame.
        ratio_range: Smallest and largest width / height; drawn on a log scale.
    """
    log_ratio = (math.log(ratio_range[0]), math.log(ratio_range[1]))
    for _ in range(_NUM_ATTEMPTS):
        area = height * width * rng.uniform(*scale_range)
        ratio = math.exp(rng.uniform(*log_ratio))
        crop_width = round(math.sqrt(area * ratio))
        crop_height = round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            return _place_crop(height, width, crop_height, crop_width, rng)
    ratio = min(max(width / height, ratio_range[0]), ratio_range[1])
    crop_width = max(1, min(width, round(height * ratio)))
    crop_height = max(1, min(height, round(width / ratio)))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def draw_jittered_crop(
    height: int,
    width: int,
    *,
    rng: np.random.Generator,
    scales: tuple[float, float],
    crop_size: int,
    shape: str = SQUARE,
) -> Box:
    """Draw a crop of a frame whose short side is scaled to a random size.

    A crop of crop_size from a frame of short side s is crop_size / s of the short side of the
    decoded frame, so frames need not be scaled twice. s is uniform in scales, as in PySlowFast
    without INV_UNIFORM_SAMPLE; the side is rounded to pixels of the decoded frame.

    Args:
        height: Height of the decoded frames, pixels.
        width: Width of the decoded frames, pixels.
        rng: Source of all randomness.
        scales: Smallest and largest s, >= crop_size.
        crop_size: Short side of the crop in pixels of the scaled frame.
        shape: One of ``CROP_SHAPES``.
    """
    crop = scale_crop(height, width, crop_size / rng.uniform(*scales), shape)
    return _place_crop(height, width, *crop, rng)


def _place_crop(
    height: int, width: int, crop_height: int, crop_width: int, rng: np.random.Generator
) -> Box:
    top = int(rng.integers(0, height - crop_height, endpoint=True))
    left = int(rng.integers(0, width - crop_width, endpoint=True))
    return top, left, crop_height, crop_width
