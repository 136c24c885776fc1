"""Augmentation in two halves: draw parameters, apply parameters.

A drawn `ViewParams` travels with its clip, so that a view can be replayed and a teacher's cached
target checked against it. Applying is deterministic. Normalisation is not done here: clips stay
uint8 until they are on the device.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from videokd.data.sampling import Box, uniform_crop_boxes
from videokd.utils.errors import InputError

_NUM_CROP_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class ViewParams:
    """What turns decoded frames into a clip.

    Args:
        crop: (top, left, height, width) in pixels of the decoded frame.
        flip: Whether the clip is mirrored left to right.
        brightness: Factor on the pixel values, 1.0 leaves them.
        contrast: Factor on the distance to the mean value of the clip, 1.0 leaves it.
    """

    crop: Box
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0


def draw_view(
    height: int,
    width: int,
    *,
    rng: np.random.Generator,
    scale_range: tuple[float, float],
    ratio_range: tuple[float, float],
    flip: bool,
    color_jitter: float,
) -> ViewParams:
    """Draw the parameters of a training view: random resized crop, flip, brightness, contrast.

    Args:
        height: Of the decoded frames, pixels.
        width: Of the decoded frames, pixels.
        rng: Source of all randomness.
        scale_range: Smallest and largest area of the crop as a share of the frame, in (0, 1].
        ratio_range: Smallest and largest width / height of the crop; drawn on a log scale.
        flip: Mirror half of the views. Must be off where left and right make the class.
        color_jitter: Brightness and contrast are drawn from 1 - color_jitter .. 1 + color_jitter;
            0.0 .. 1.0.

    Raises:
        InputError: a range is empty or out of bounds.
    """
    if not 0.0 < scale_range[0] <= scale_range[1] <= 1.0:
        raise InputError(f"scale_range must satisfy 0 < low <= high <= 1, got {scale_range}")
    if not 0.0 < ratio_range[0] <= ratio_range[1]:
        raise InputError(f"ratio_range must satisfy 0 < low <= high, got {ratio_range}")
    if not 0.0 <= color_jitter <= 1.0:
        raise InputError(f"color_jitter must be 0 .. 1, got {color_jitter}")
    crop = _draw_crop(height, width, rng, scale_range, ratio_range)
    # All numbers are drawn even when unused: switching one augmentation leaves the others alone.
    flip_draw, brightness_draw, contrast_draw = rng.random(3)
    return ViewParams(
        crop,
        flip=bool(flip and flip_draw < 0.5),
        brightness=1.0 + color_jitter * (2.0 * brightness_draw - 1.0),
        contrast=1.0 + color_jitter * (2.0 * contrast_draw - 1.0),
    )


def center_view(height: int, width: int, size: int) -> ViewParams:
    """Return the view of the central square of `size` pixels, without any augmentation."""
    return ViewParams(uniform_crop_boxes(height, width, size=size, num_crops=1)[0])


def apply_view(frames: NDArray[np.uint8], params: ViewParams, *, size: int) -> Tensor:
    """Cut a clip out of decoded frames.

    Order: crop, resize (bilinear, antialiased), flip, brightness, contrast. Brightness and
    contrast are the same for all frames of the clip; contrast pivots on the mean of all values.

    Args:
        frames: (T, H, W, 3) uint8.
        params: The view; its crop must lie inside the frames.
        size: Side of the square clip, pixels.

    Returns:
        (3, T, size, size) uint8, contiguous.

    Raises:
        InputError: the crop leaves the frames.
    """
    top, left, height, width = params.crop
    if top < 0 or left < 0 or top + height > frames.shape[1] or left + width > frames.shape[2]:
        raise InputError(f"crop {params.crop} leaves frames of {frames.shape[1]}x{frames.shape[2]}")
    crop = frames[:, top : top + height, left : left + width].copy()
    # T C H W in channels-last memory: the layout that the uint8 resize is fast for.
    clip = torch.from_numpy(crop).permute(0, 3, 1, 2)
    if (height, width) != (size, size):
        clip = F.interpolate(clip, (size, size), mode="bilinear", antialias=True)
    clip = clip.permute(1, 0, 2, 3)
    clip = clip.flip(-1).contiguous() if params.flip else clip.contiguous()
    if params.brightness != 1.0 or params.contrast != 1.0:
        clip = _adjust_colors(clip, params.brightness, params.contrast)
    return clip


def _draw_crop(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale_range: tuple[float, float],
    ratio_range: tuple[float, float],
) -> Box:
    log_ratio = (math.log(ratio_range[0]), math.log(ratio_range[1]))
    for _ in range(_NUM_CROP_ATTEMPTS):
        area = height * width * rng.uniform(*scale_range)
        ratio = math.exp(rng.uniform(*log_ratio))
        crop_width = round(math.sqrt(area * ratio))
        crop_height = round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(0, height - crop_height, endpoint=True))
            left = int(rng.integers(0, width - crop_width, endpoint=True))
            return top, left, crop_height, crop_width
    # No draw fitted (a frame much longer than the ratios allow): the largest central crop.
    ratio = min(max(width / height, ratio_range[0]), ratio_range[1])
    crop_width = max(1, min(width, round(height * ratio)))
    crop_height = max(1, min(height, round(width / ratio)))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def _adjust_colors(clip: Tensor, brightness: float, contrast: float) -> Tensor:
    """Apply both factors through one table of 256 values: a byte has no other outcome."""
    values = clip.numpy()
    bright = np.clip(np.arange(256) * brightness, 0.0, 255.0)
    counts = np.bincount(values.ravel(), minlength=256)
    mean = float(bright @ counts) / max(values.size, 1)
    table = np.clip(np.rint(contrast * bright + (1.0 - contrast) * mean), 0.0, 255.0)
    return torch.from_numpy(table.astype(np.uint8)[values])
