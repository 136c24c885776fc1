"""Resize of uint8 frames on any device, bit-identical to torch on the CPU.

`F.interpolate(..., mode="bilinear", antialias=True)` of uint8 on the CPU is fixed-point arithmetic:
weights of 16 bits, columns first, rounded to bytes after the columns and after the rows. CUDA has
no uint8 kernel, and float arithmetic rounds differently by up to one level, which later operations
(posterize, equalize) would amplify. Integer arithmetic is the same everywhere.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def resize_bytes(frames: Tensor, size: int) -> Tensor:
    """Resize frames to size x size pixels with a triangle filter, widened when shrinking.

    Equal bit for bit to F.interpolate(mode="bilinear", antialias=True) of uint8 on the CPU.

    Args:
        frames: (..., H, W) uint8, on any device.
        size: Pixels, > 0.

    Returns:
        (..., size, size) uint8, on the same device.
    """
    for dim in (-1, -2):
        if frames.shape[dim] != size:
            frames = _resize_dim(frames, size, dim)
    return frames


def _resize_dim(frames: Tensor, size: int, dim: int) -> Tensor:
    taps, num_bits = _make_taps(frames.shape[dim], size)
    sources, weights = torch.from_numpy(taps).to(frames.device, non_blocking=True)
    if dim == -2:
        weights = weights[..., None]
    # Adding half of the last bit makes the shift round to nearest.
    total = torch.full((), 1 << (num_bits - 1), dtype=torch.int32, device=frames.device)
    for source, weight in zip(sources, weights, strict=True):
        total = total + frames.index_select(dim, source) * weight
    return (total >> num_bits).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=1024)
def _make_taps(num_inputs: int, num_outputs: int) -> tuple[NDArray[np.int32], int]:
    """Return the inputs and weights of each output.

    Returns:
        (2, taps, num_outputs), the inputs and their weights; and the number of fractional bits, so
        that the weights of an output sum to about 2**bits.
    """
    scale = num_inputs / num_outputs
    support = max(scale, 1.0)
    centers = scale * (np.arange(num_outputs) + 0.5)
    first = np.maximum(np.trunc(centers - support + 0.5), 0.0)
    end = np.minimum(np.trunc(centers + support + 0.5), num_inputs)
    inputs = first + np.arange(2 * math.ceil(support) + 1)[:, None]
    # Same order of operations as in torch, to be exact to the last bit of a double.
    shares = np.maximum(1.0 - np.abs((inputs - centers + 0.5) * (1.0 / support)), 0.0)
    shares[inputs >= end] = 0.0
    shares /= np.add.accumulate(shares)[-1]
    # Largest number of bits for which the largest weight fits in a signed 16-bit number.
    num_bits = 22
    while int(0.5 + shares.max() * (1 << num_bits)) >= 1 << 15:
        num_bits -= 1
    weights = 0.5 + shares * (1 << num_bits)
    return np.stack([np.minimum(inputs, num_inputs - 1), weights]).astype(np.int32), num_bits
