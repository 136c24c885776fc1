"""pytorchvideo's X3D at any clip size, width and depth.

Needs torch and pytorchvideo only. Parameters and their names are those of ``create_x3d``; the
fixed pooling window is replaced by global pooling, which is the same for the clip size that the
library builds it for, and the softmax that pytorchvideo puts into the network is left out, so that
the network returns logits. Its Swish is rebuilt in a form that torch.compile takes.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn


class Swish(nn.Module):
    """x * sigmoid(x), bit for bit as pytorchvideo computes it; ``nn.SiLU`` rounds differently."""

    def forward(self, x: Tensor) -> Tensor:
        """Map values of any shape."""
        return _Swish.apply(x)


class _Swish(torch.autograd.Function):
    # Only x is kept for the backward, as autograd by itself would not do.
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return grad * (gate * (1 + x * (1 - gate)))


def build(
    *,
    num_classes: int,
    num_frames: int,
    crop_size: int,
    width_factor: float = 2.0,
    depth_factor: float = 2.2,
    head_dim: int = 2048,
) -> nn.Module:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of ``blocks.5.proj``.
        num_frames: Frames of a clip, >= 1.
        crop_size: Height and width of a clip in px.
        width_factor: 2.0 in the paper's networks.
        depth_factor: 2.2 for x3d_xs, x3d_s and x3d_m, 5.0 for x3d_l.
        head_dim: Width of the embedding, 2048 in the paper's networks.
    """
    with warnings.catch_warnings():
        # pytorchvideo imports fvcore.nn, which scripts a function: torch warns that it is old.
        warnings.simplefilter("ignore")
        from pytorchvideo.models.x3d import create_x3d

    net = create_x3d(
        input_clip_length=num_frames,
        input_crop_size=max(crop_size, 32),  # only sizes the pooling window, replaced below
        model_num_class=num_classes,
        dropout_rate=0.0,
        width_factor=width_factor,
        depth_factor=depth_factor,
        head_dim_out=head_dim,
        head_activation=None,
        inner_act=Swish,
    )
    head = net.blocks[5]
    head.pool.pool = nn.AdaptiveAvgPool3d(1)
    head.output_pool = nn.AdaptiveAvgPool3d(1)
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            # pytorchvideo leaves numpy integers here, which torch.compile and export reject.
            module.stride = tuple(int(s) for s in module.stride)
    return net
