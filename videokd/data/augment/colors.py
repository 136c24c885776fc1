"""Brightness and contrast of a clip, with identical bytes on every device."""

import torch
from torch import Tensor

# Fractional bits of the fixed-point values that the mean of a clip is computed from.
_NUM_BITS = 16


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
