"""Application of an augmentation to frames, in a worker or on the training device.

Order: crop, resize (bilinear, antialiased), flip, RandAugment, brightness and contrast,
saturation, erasing. Both paths give identical bytes on a CPU. On a GPU, crop, resize, flip,
brightness, contrast and erasing are identical to the CPU too. Saturation and RandAugment are
computed in float32 by torchvision and may differ by one level each; a later operation (posterize,
equalize) may increase the difference.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from videokd.data.augment.colors import adjust_brightness_contrast
from videokd.data.augment.erasing import erase
from videokd.data.augment.params import Augmentation
from videokd.data.augment.rand_augment import apply_op
from videokd.data.augment.resize import resize_bytes
from videokd.utils.errors import InputError


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
