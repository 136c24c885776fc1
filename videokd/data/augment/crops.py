"""Boxes that clips are cut out of: drawn in training, fixed in tests."""

import math

import numpy as np

from videokd.utils.errors import InputError

Box = tuple[int, int, int, int]
"""(top, left, height, width), pixels."""

NUM_CROPS = (1, 3, 5)


_NUM_ATTEMPTS = 10


def uniform_crop_boxes(height: int, width: int, *, size: int, num_crops: int) -> list[Box]:
    """Return the boxes of test crops on a frame whose short side is already scaled.

    One crop is central. Three crops are at the start, the centre and the end of the long side,
    centred on the short side. Five crops are the corners top left, top right, bottom left, bottom
    right, and the centre. Crops are squares of `size` pixels, or of the short side if the frame is
    smaller.

    Returns:
        num_crops boxes (top, left, height, width) in pixels.

    Raises:
        InputError: num_crops is not 1, 3 or 5, or a number is not positive.
    """
    if num_crops not in NUM_CROPS:
        raise InputError(f"num_crops must be 1, 3 or 5, got {num_crops}")
    if min(height, width, size) <= 0:
        raise InputError(f"a crop of {size} needs a positive size and frame, got {height}x{width}")
    side = min(size, height, width)
    bottom, right = height - side, width - side
    top, left = bottom // 2, right // 2
    if num_crops == 1:
        places = [(top, left)]
    elif num_crops == 5:
        places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (top, left)]
    elif width >= height:
        places = [(top, x) for x in (0, left, right)]
    else:
        places = [(y, left) for y in (0, top, bottom)]
    return [(y, x, side, side) for y, x in places]


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
) -> Box:
    """Draw a square crop of a frame whose short side is scaled to a random size.

    A crop of crop_size from a frame of short side s is crop_size / s of the short side of the
    decoded frame, so frames need not be scaled twice. s is uniform in scales, as in PySlowFast
    without INV_UNIFORM_SAMPLE; the side is rounded to pixels of the decoded frame.

    Args:
        height: Height of the decoded frames, pixels.
        width: Width of the decoded frames, pixels.
        rng: Source of all randomness.
        scales: Smallest and largest s, >= crop_size.
        crop_size: Side of the crop in pixels of the scaled frame.
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
