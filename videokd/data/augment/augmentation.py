"""Parameters of an augmentation, and their application in a worker or on the training device.

Order: crop, resize (bilinear, antialiased), flip, RandAugment, brightness and contrast,
saturation, erasing. Both paths give identical bytes on a CPU. On a GPU, crop, resize, flip,
brightness, contrast and erasing are identical to the CPU too. Saturation and RandAugment are
computed in float32 by torchvision and may differ by one level each; a later operation (posterize,
equalize) may increase the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from videokd.data.augment.rand_augment import apply_op
from videokd.data.augment.resize import resize_bytes
from videokd.utils.errors import InputError

# Fractional bits of the fixed-point values that the mean of a clip is computed from.
_NUM_BITS = 16

Box = tuple[int, int, int, int]
"""(top, left, height, width), pixels."""

NUM_CROPS = (1, 3, 5)
"""Numbers of test crops that ``uniform_crop_boxes`` knows."""

SQUARE = "square"
"""Crops are squares of the frame."""
FRAME = "frame"
"""Crops have the shape of the frame, which is squeezed into a square clip."""
CROP_SHAPES = (SQUARE, FRAME)


@dataclass(frozen=True, slots=True)
class Erasing:
    """A box of one colour in all frames of a clip.

    Args:
        box: (top, left, height, width) as shares of the clip's height and width, in [0, 1].
        fill: Red, green and blue, 0 .. 255.
    """

    box: tuple[float, float, float, float]
    fill: tuple[int, int, int]

    def pixels(self, height: int, width: int) -> Box:
        """Return the box in pixels of a clip of this size, edges rounded to the nearest pixel."""
        top, left = round(self.box[0] * height), round(self.box[1] * width)
        bottom = round((self.box[0] + self.box[2]) * height)
        right = round((self.box[1] + self.box[3]) * width)
        return top, left, bottom - top, right - left


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Parameters that turn decoded frames into a clip, the same for all its frames.

    The parameters do not depend on the size of the clip: one augmentation serves several sizes.

    Args:
        crop: (top, left, height, width) in pixels of the decoded frame.
        flip: Whether the clip is mirrored left to right.
        brightness: Factor on the pixel values; 1.0 keeps them.
        contrast: Factor on the distance to the mean value of the clip; 1.0 keeps it.
        saturation: Factor on the distance to the grey of the same lightness; 1.0 keeps it.
        ops: Names and values of RandAugment's operations, in order; see `rand_augment`.
        erasings: Boxes that are painted over the clip, in order.
    """

    crop: Box
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    ops: tuple[tuple[str, float], ...] = ()
    erasings: tuple[Erasing, ...] = ()


def center_crop(height: int, width: int, size: int, shape: str = SQUARE) -> Augmentation:
    """Return the central crop whose short side has `size` pixels, without augmentation."""
    return Augmentation(uniform_crop_boxes(height, width, size=size, num_crops=1, shape=shape)[0])


def uniform_crop_boxes(
    height: int, width: int, *, size: int, num_crops: int, shape: str = SQUARE
) -> list[Box]:
    """Return the boxes of test crops on a frame whose short side is already scaled.

    One crop is central. Three crops are at the start, the centre and the end of the long side,
    centred on the short side. Five crops are the corners top left, top right, bottom left, bottom
    right, and the centre. The short side of a crop has `size` pixels, or as many as the frame's.
    Its long side is the same ("square"), or has the frame's ratio to it ("frame").

    Returns:
        num_crops boxes (top, left, height, width) in pixels.

    Raises:
        InputError: num_crops is not 1, 3 or 5, shape is unknown, or a number is not positive.
    """
    if num_crops not in NUM_CROPS:
        raise InputError(f"num_crops must be 1, 3 or 5, got {num_crops}")
    if min(height, width, size) <= 0:
        raise InputError(f"a crop of {size} needs a positive size and frame, got {height}x{width}")
    crop_height, crop_width = scale_crop(height, width, min(1.0, size / min(height, width)), shape)
    bottom, right = height - crop_height, width - crop_width
    top, left = bottom // 2, right // 2
    if num_crops == 1:
        places = [(top, left)]
    elif num_crops == 5:
        places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (top, left)]
    elif width >= height:
        places = [(top, x) for x in (0, left, right)]
    else:
        places = [(y, left) for y in (0, top, bottom)]
    return [(y, x, crop_height, crop_width) for y, x in places]


def scale_crop(height: int, width: int, share: float, shape: str) -> tuple[int, int]:
    """Return the height and width of a crop whose short side is a share of the frame's, 0 to 1.

    Raises:
        InputError: shape is unknown.
    """
    if shape not in CROP_SHAPES:
        raise InputError(f"crop shape must be one of {', '.join(CROP_SHAPES)}, got {shape!r}")
    if shape == FRAME:
        return max(1, round(height * share)), max(1, round(width * share))
    side = max(1, round(min(height, width) * share))
    return side, side


def apply_augmentation(
    frames: NDArray[np.uint8], augmentation: Augmentation, *, size: int
) -> Tensor:
    """Cut a clip out of decoded frames.

    All frames of the clip are treated alike; contrast pivots on the mean over the whole clip. The
    same augmentation at another size shows the same region.

    Args:
        frames: (T, H, W, 3) uint8.
        augmentation: Its crop must lie inside the frames.
        size: Side of the square clip, pixels.

    Returns:
        (3, T, size, size) uint8, contiguous.

    Raises:
        InputError: the crop leaves the frames.
    """
    _check_crop(augmentation, frames.shape[1], frames.shape[2])
    top, left, height, width = augmentation.crop
    crop = frames[:, top : top + height, left : left + width]
    if (height, width) != (size, size):
        # T C H W in channels-last memory, the layout that uint8 resize is optimised for.
        clip = torch.from_numpy(crop.copy()).permute(0, 3, 1, 2)
        clip = F.interpolate(clip, (size, size), mode="bilinear", antialias=True)
        crop = clip.permute(0, 2, 3, 1).numpy()
    # NumPy transposes bytes four times as fast as torch.
    return _apply_after_resize(torch.from_numpy(crop.transpose(3, 0, 1, 2).copy()), augmentation)


def apply_augmentations_on_device(
    clips: Tensor, augmentations: Sequence[Augmentation], *, size: int
) -> Tensor:
    """Cut clips out of a batch of decoded frames, on the device that holds them.

    Runs without autocast and gradients. Only torchvision's warps (shear, translate, rotate) and
    sharpness synchronise the device, to copy their constants to it.

    Args:
        clips: (B, 3, T, H, W) uint8, all decoded at one size.
        augmentations: B; their crops must lie inside the frames.
        size: Side of the square clips, pixels.

    Returns:
        (B, 3, T, size, size) uint8, contiguous, on the same device.

    Raises:
        InputError: a crop leaves the frames, or there is not one augmentation per clip.
    """
    if len(augmentations) != len(clips):
        raise InputError(f"{len(clips)} clips need as many augmentations, got {len(augmentations)}")
    result = clips.new_empty((*clips.shape[:3], size, size))
    with torch.no_grad(), torch.autocast(clips.device.type, enabled=False):
        for clip, augmentation, out in zip(clips, augmentations, result, strict=True):
            _check_crop(augmentation, *clip.shape[2:])
            top, left, height, width = augmentation.crop
            crop = clip[:, :, top : top + height, left : left + width]
            out.copy_(_apply_after_resize(resize_bytes(crop, size), augmentation))
    return result


def _check_crop(augmentation: Augmentation, frame_height: int, frame_width: int) -> None:
    top, left, height, width = augmentation.crop
    if top < 0 or left < 0 or top + height > frame_height or left + width > frame_width:
        raise InputError(f"crop {augmentation.crop} leaves frames of {frame_height}x{frame_width}")


def _apply_after_resize(clip: Tensor, augmentation: Augmentation) -> Tensor:
    """Apply all steps after resizing to a clip (3, T, size, size) uint8; return it contiguous."""
    clip = clip.flip(-1).contiguous() if augmentation.flip else clip.contiguous()
    for name, value in augmentation.ops:
        clip = apply_op(clip, name, value)
    if augmentation.brightness != 1.0 or augmentation.contrast != 1.0:
        clip = adjust_brightness_contrast(clip, augmentation.brightness, augmentation.contrast)
    if augmentation.saturation != 1.0:
        clip = apply_op(clip, "color", augmentation.saturation)
    return erase(clip, augmentation.erasings)


def adjust_brightness_contrast(clip: Tensor, brightness: float, contrast: float) -> Tensor:
    """Apply both factors through one lookup table of 256 values.

    A value v becomes b = min(brightness * v, 255) and then contrast * b + (1 - contrast) * mean(b),
    rounded, with the mean over the whole clip. The mean is summed in integers and each step on the
    table is a separate kernel, so that all devices round alike.

    Args:
        clip: (3, T, H, W) uint8, on any device.
        brightness: >= 0; 1.0 keeps the values.
        contrast: >= 0; 1.0 keeps the values.

    Returns:
        (3, T, H, W) uint8, on the same device.
    """
    bright = torch.arange(256, dtype=torch.float64, device=clip.device)
    bright = bright.mul(brightness).clamp_(0.0, 255.0)
    total = _sum_values(clip, bright.mul(1 << _NUM_BITS).round_().long())
    mean = total.double().div((1 << _NUM_BITS) * max(clip.numel(), 1))
    table = bright.mul(contrast).add_(mean.mul(1.0 - contrast))
    table = table.round_().clamp_(0.0, 255.0).to(torch.uint8)
    return table.index_select(0, clip.flatten().int()).view(clip.shape)


def _sum_values(clip: Tensor, table: Tensor) -> Tensor:
    """Sum table[v] over all bytes v of a clip, in int64."""
    if clip.device.type == "cpu":
        return torch.bincount(clip.flatten(), minlength=256).mul(table).sum()
    # bincount would synchronise a GPU.
    return table.index_select(0, clip.flatten().int()).sum()


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
