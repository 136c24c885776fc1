"""Drawing the parameters of training views."""

import math
from dataclasses import dataclass

import numpy as np

from videokd.data.augment.erasing import RandomErasing
from videokd.data.augment.params import ViewParams
from videokd.data.augment.rand_augment import RandAugment
from videokd.data.sampling import Box, uniform_crop_boxes
from videokd.utils.errors import InputError

_NUM_CROP_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class AugmentSpec:
    """What training views are drawn from.

    The crop is either a resized crop of any area and shape (Szegedy et al. 2015) or, where
    jitter_scales is given, a square from a frame whose short side was jittered (PySlowFast's
    TRAIN_JITTER_SCALES); see `draw_resized_crop` and `draw_jittered_crop`.

    Args:
        scale_range: Smallest and largest area of the crop as a share of the frame, in (0, 1].
        ratio_range: Smallest and largest width / height of the crop; drawn on a log scale.
        flip: Mirror half of the views. Must be off where left and right make the class, or the
            labels of mirrored views (`ViewParams.flip`) be swapped.
        color_jitter: Brightness and contrast are drawn from 1 - color_jitter .. 1 + color_jitter;
            0.0 .. 1.0.
        saturation_jitter: Saturation likewise; 0.0 .. 1.0.
        jitter_scales: Smallest and largest short side that a frame is scaled to before a crop of
            jitter_crop_size is taken, pixels; None for resized crops.
        jitter_crop_size: Side of that crop, pixels, > 0 and at most the smallest scale. Only the
            ratio of the two counts: clips may have any size.
        rand_augment: RandAugment, or None.
        erasing: Random erasing, or None.

    Raises:
        InputError: a range is empty or out of bounds.
    """

    scale_range: tuple[float, float] = (0.5, 1.0)
    ratio_range: tuple[float, float] = (3 / 4, 4 / 3)
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
        if self.jitter_scales is not None:
            low, high = self.jitter_scales
            if not 0 < self.jitter_crop_size <= low <= high:
                raise InputError(
                    "jitter_scales must satisfy 0 < jitter_crop_size <= low <= high, got "
                    f"{self.jitter_scales} with jitter_crop_size {self.jitter_crop_size}"
                )

    def draw(self, height: int, width: int, *, rng: np.random.Generator) -> ViewParams:
        """Draw a view of frames of this size.

        All numbers are drawn even when unused, and crop, RandAugment, erasing and the four scalars
        have generators of their own: switching one augmentation leaves the others alone.

        Args:
            height: Of the decoded frames, pixels.
            width: Of the decoded frames, pixels.
            rng: Source of all randomness; made from a seed, as `np.random.default_rng` does.
        """
        if self.jitter_scales is None:
            crop = draw_resized_crop(
                height,
                width,
                rng=rng,
                scale_range=self.scale_range,
                ratio_range=self.ratio_range,
            )
        else:
            crop = draw_jittered_crop(
                height, width, rng=rng, scales=self.jitter_scales, crop_size=self.jitter_crop_size
            )
        # The crop takes a varying number of draws from rng, so nothing may follow it there.
        ops_rng, erasing_rng, scalar_rng = rng.spawn(3)
        flip, brightness, contrast, saturation = scalar_rng.random(4).tolist()
        return ViewParams(
            crop,
            flip=self.flip and flip < 0.5,
            brightness=1.0 + self.color_jitter * (2.0 * brightness - 1.0),
            contrast=1.0 + self.color_jitter * (2.0 * contrast - 1.0),
            saturation=1.0 + self.saturation_jitter * (2.0 * saturation - 1.0),
            ops=self.rand_augment.draw(ops_rng) if self.rand_augment else (),
            erasings=self.erasing.draw(erasing_rng) if self.erasing else (),
        )


def center_view(height: int, width: int, size: int) -> ViewParams:
    """Return the view of the central square of `size` pixels, without any augmentation."""
    return ViewParams(uniform_crop_boxes(height, width, size=size, num_crops=1)[0])


def draw_resized_crop(
    height: int,
    width: int,
    *,
    rng: np.random.Generator,
    scale_range: tuple[float, float],
    ratio_range: tuple[float, float],
) -> Box:
    """Draw a crop of any area and shape, to be resized to a square.

    Area and ratio are drawn again until the crop fits; after 10 attempts (a frame much longer than
    the ratios allow) it is the largest central crop of an allowed ratio.

    Args:
        height: Of the decoded frames, pixels.
        width: Of the decoded frames, pixels.
        rng: Source of all randomness.
        scale_range: Smallest and largest area as a share of the frame.
        ratio_range: Smallest and largest width / height; drawn on a log scale.
    """
    log_ratio = (math.log(ratio_range[0]), math.log(ratio_range[1]))
    for _ in range(_NUM_CROP_ATTEMPTS):
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
) -> Box:
    """Draw a square crop as if the frame's short side had been scaled to a random size before.

    A crop of crop_size from a frame of short side s is a crop of crop_size / s of the short side
    of the decoded frame, whatever that is: frames are not scaled twice. s is uniform in scales,
    as in PySlowFast without INV_UNIFORM_SAMPLE; the side is rounded to pixels of the decoded frame.

    Args:
        height: Of the decoded frames, pixels.
        width: Of the decoded frames, pixels.
        rng: Source of all randomness.
        scales: Smallest and largest s, >= crop_size.
        crop_size: Pixels of the scaled frame.
    """
    share = crop_size / rng.uniform(*scales)
    side = max(1, round(min(height, width) * share))
    return _place_crop(height, width, side, side, rng)


def _place_crop(
    height: int, width: int, crop_height: int, crop_width: int, rng: np.random.Generator
) -> Box:
    top = int(rng.integers(0, height - crop_height, endpoint=True))
    left = int(rng.integers(0, width - crop_width, endpoint=True))
    return top, left, crop_height, crop_width
