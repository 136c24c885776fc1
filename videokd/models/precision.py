"""Precisions of networks, and convolutions that a CPU gets wrong in half precision.

With torch 2.14 on CPUs with AVX512-BF16, oneDNN leaves the weight gradient of a convolution with
temporal padding uninitialised in part, if its input has more than one frame and fewer frames than
the kernel plus the stride minus 1. Measured for kernels of 3, 5 and 7 frames with strides 1 and 2
and inputs of 1 to 10 frames: no other case was wrong, and neither was any output or input gradient.
r2plus1d_18 has such convolutions for clips of 8 frames.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

# Config value -> dtype of autocast; float32 runs without autocast.
PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device_type: str) -> AbstractContextManager[Any]:
    """Return the context that a network of a precision runs in."""
    if device_type == "meta":  # torch has no autocast for it; there, only shapes are computed
        return nullcontext()
    dtype = PRECISIONS[precision]
    return torch.autocast(device_type, dtype, enabled=dtype is not None)


class SafeConv3d(nn.Conv3d):
    """Convolution that computes in float32 where a CPU's half precision kernels are wrong."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, T, H, W) of any float dtype."""
        if input.device.type != "cpu" or not self._is_wrong(input.shape[2]):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.to(self.weight.dtype)).to(input.dtype)

    def _is_wrong(self, num_frames: int) -> bool:
        is_padded = self.padding == "same" or self.padding[0] != 0
        return is_padded and 1 < num_frames < self.kernel_size[0] + self.stride[0] - 1


def use_safe_convs(network: nn.Module) -> None:
    """Make each Conv3d inside ``network`` a ``SafeConv3d``, with the same parameters."""
    for module in network.modules():
        # torchvision has subclasses that differ from Conv3d only in how they are built.
        if isinstance(module, nn.Conv3d) and type(module).forward is nn.Conv3d.forward:
            module.__class__ = SafeConv3d
