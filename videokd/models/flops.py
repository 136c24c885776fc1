"""What a network costs: multiply-adds of one clip, counted without computing anything."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_multiply_adds(net: nn.Module, clip_shape: tuple[int, int, int, int]) -> int:
    """Count the multiply-adds of convolutions, matrix products and attention for one clip.

    torch's counter, by a forward on the meta device; fvcore's, which many papers used, computes the
    network for real, and knows nothing of fused attention. Norms, interpolation, pooling, softmax
    and activations count nothing here; fvcore adds 2 per value of a batch norm, 5 of a layer norm.

    Args:
        net: Maps clips (B, 3, T, H, W) to anything; in eval mode, on the meta device.
        clip_shape: (3, T, H, W) of the clip.

    Returns:
        Multiply-adds, "FLOPs" in most papers on video networks: half the operations.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.empty(1, *clip_shape, device="meta"))
    return counter.get_total_flops() // 2
