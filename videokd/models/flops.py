"""Multiply-adds of a network for one clip, counted on the meta device."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_multiply_adds(net: nn.Module, clip_shape: tuple[int, int, int, int]) -> int:
    """Count the multiply-adds of convolutions, matrix products and attention for one clip.

    Uses torch's counter and a forward on the meta device. The counter of fvcore, which many papers
    used, runs the network on real data and does not support fused attention. Norms, interpolation,
    pooling, softmax and activations count as 0 here; fvcore adds 2 per value of a batch norm and 5
    per value of a layer norm.

    Args:
        net: Network that takes clips (B, 3, T, H, W), in eval mode, on the meta device.
        clip_shape: (3, T, H, W) of the clip.

    Returns:
        Multiply-adds, called "FLOPs" in most papers on video networks; half the operations.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.empty(1, *clip_shape, device="meta"))
    return counter.get_total_flops() // 2
