"""pytorchvideo's X3D at any clip size, width and depth.

Needs only torch and pytorchvideo. Parameters and their names are those of ``create_x3d``. Three
things differ: global pooling replaces the fixed pooling window, with equal results at the clip size
of the library's network; there is no softmax, so that the network returns logits; and Swish has a
form that torch.compile supports.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn


class Swish(nn.Module):
    """x * sigmoid(x), bit for bit as in pytorchvideo; ``nn.SiLU`` rounds differently."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x * sigmoid(x) for a tensor of any shape."""
        return _Swish.apply(x)


class _Swish(torch.autograd.Function):
    # Saves only x for the backward; autograd would also save the sigmoid.
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
        # pytorchvideo imports fvcore.nn, which uses torch.jit.script; torch warns that it is old.
        warnings.simplefilter("ignore")
        from pytorchvideo.models.x3d import create_x3d

    net = create_x3d(
        input_clip_length=num_frames,
        input_crop_size=max(crop_size, 32),  # only sets the pooling window, replaced below
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
            # pytorchvideo sets numpy integers, which torch.compile and export reject.
            module.stride = tuple(int(s) for s in module.stride)
    return net
