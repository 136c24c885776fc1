"""pytorchvideo's residual networks (c2d, i3d, slow, r2plus1d, csn) at any width and depth.

Needs only torch and pytorchvideo. At width 64 and the published depths the modules, their names and
their order equal ``pytorchvideo.models.hub.<arch>``, with two changes. Global pooling replaces the
fixed pooling window of the head; both are equal for the clip size of the published weights, while
on larger clips the library averages overlapping windows. The softmax of r2plus1d's head is left
out, so that the network returns logits.

The hub's builders support only three depths. This module therefore assembles the network from the
same stems, stages and heads.
"""

import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class _Recipe:
    """Properties of one architecture; kernels and strides are temporal unless named otherwise."""

    stem_kernel: int
    # Kernels of conv_a per stage; the blocks of a stage cycle through several kernels.
    a_kernels: tuple[tuple[int, ...], ...] = ((1,),) * 4
    b_kernel: int = 1
    b_strides: tuple[int, ...] = (1, 1, 1, 1)
    b_space_strides: tuple[int, ...] = (1, 2, 2, 2)
    is_depthwise: bool = False
    is_factored: bool = False
    has_stem_pool: bool = True
    # Max pooling that halves T after the first stage; a block of its own without parameters.
    has_time_pool: bool = False


_RECIPES = {
    "c2d_r50": _Recipe(stem_kernel=1, has_time_pool=True),
    "i3d_r50": _Recipe(stem_kernel=5, a_kernels=((3,), (3, 1), (3, 1), (1, 3)), has_time_pool=True),
    "slow_r50": _Recipe(stem_kernel=1, a_kernels=((1,), (1,), (3,), (3,))),
    "r2plus1d_r50": _Recipe(
        stem_kernel=1,
        b_kernel=3,
        b_strides=(1, 1, 2, 2),
        b_space_strides=(2, 2, 2, 2),
        is_factored=True,
        has_stem_pool=False,
    ),
    "csn_r101": _Recipe(stem_kernel=3, b_kernel=3, b_strides=(1, 2, 2, 2), is_depthwise=True),
}


def build(
    *,
    arch: str,
    num_classes: int,
    width: int = 64,
    depths: tuple[int, int, int, int] = (3, 4, 6, 3),
) -> nn.Module:
    """Build the network with random weights.

    Args:
        arch: "c2d_r50", "i3d_r50", "slow_r50", "r2plus1d_r50" or "csn_r101".
        num_classes: Outputs of the last block's ``proj``.
        width: Channels of the stem; the stages have 4, 8, 16 and 32 times as many.
        depths: Residual blocks of the four stages, each >= 1; (3, 4, 23, 3) for csn_r101.
    """
    with warnings.catch_warnings():
        # pytorchvideo imports fvcore.nn, which uses torch.jit.script; torch warns that it is old.
        warnings.simplefilter("ignore")
        from pytorchvideo.models.head import create_res_basic_head
        from pytorchvideo.models.net import Net
        from pytorchvideo.models.resnet import create_res_stage
        from pytorchvideo.models.stem import create_res_basic_stem

    recipe = _RECIPES[arch]
    stem = create_res_basic_stem(
        in_channels=3,
        out_channels=width,
        conv_kernel_size=(recipe.stem_kernel, 7, 7),
        conv_padding=(recipe.stem_kernel // 2, 3, 3),
        pool=nn.MaxPool3d if recipe.has_stem_pool else None,
    )
    blocks = [stem]
    for i, depth in enumerate(depths):
        channels = width * 2**i
        blocks.append(
            create_res_stage(
                depth=depth,
                dim_in=width if i == 0 else channels * 2,
                dim_inner=channels,
                dim_out=channels * 4,
                **_stage_options(recipe, i, channels),
            )
        )
        if i == 0 and recipe.has_time_pool:
            blocks.append(nn.MaxPool3d((2, 1, 1)))
    head = create_res_basic_head(
        in_features=width * 32,
        out_features=num_classes,
        pool=nn.AdaptiveAvgPool3d,
        dropout_rate=0.0,
    )
    net = Net(blocks=nn.ModuleList([*blocks, head]))
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            # pytorchvideo sets numpy integers, which torch.compile and export reject.
            module.stride = tuple(int(s) for s in module.stride)
    return net


def _stage_options(recipe: _Recipe, stage: int, channels: int) -> dict[str, Any]:
    from pytorchvideo.models.r2plus1d import create_2plus1d_bottleneck_block
    from pytorchvideo.models.resnet import create_bottleneck_block

    kernels = recipe.a_kernels[stage]
    space_stride = recipe.b_space_strides[stage]
    return {
        "bottleneck": (
            create_2plus1d_bottleneck_block if recipe.is_factored else create_bottleneck_block
        ),
        "conv_a_kernel_size": [(kernel, 1, 1) for kernel in kernels],
        "conv_a_stride": (1, 1, 1),
        "conv_a_padding": [(kernel // 2, 0, 0) for kernel in kernels],
        "conv_b_kernel_size": (recipe.b_kernel, 3, 3),
        "conv_b_stride": (recipe.b_strides[stage], space_stride, space_stride),
        "conv_b_padding": (recipe.b_kernel // 2, 1, 1),
        "conv_b_num_groups": channels if recipe.is_depthwise else 1,
    }
