"""pytorchvideo's SlowFast for a single input clip, at any clip size, width and depth.

Needs only torch and pytorchvideo. Parameters and their names are those of ``create_slowfast``. Four
things differ: the network takes the clip of the fast path and selects the slow path's frames
itself; global pooling replaces the fixed pooling windows; there is no dropout; and blocks do not
change the list that they are given.
"""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BETA_INV = 8  # channels of the slow path relative to the fast path
# Temporal kernel size of the first convolution of a block, per path and stage.
_TEMPORAL_KERNELS = ((1, 1, 3, 3), (3, 3, 3, 3))


class SlowFast(nn.Module):
    """SlowFast network made of the library's blocks, for one clip instead of a list of two.

    Args:
        blocks: Stem, four stages, pooling of both paths, head.
        alpha: Frames of the fast path per frame of the slow path.
        paths: Maps that ``features`` returns: "fused", "slow" or "fast". Logits do not depend on
            it.
    """

    def __init__(self, blocks: nn.ModuleList, *, alpha: int, paths: str) -> None:
        super().__init__()
        self.blocks = blocks
        self.alpha = alpha
        self.paths = paths

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, 3, T, H, W), T a multiple of alpha, to logits (B, K)."""
        x: Any = self.split(clips)
        for block in self.blocks:
            x = block(x)
        return x

    def features(self, clips: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the maps (B, C, T, H, W) after each stage, and the head's input (B, D).

        The slow path's map does not include the fast path's channels that are appended for the next
        stage. "fused" concatenates the slow path's map and the fast path's map averaged over groups
        of alpha frames. The mean of the last fused map over T, H and W is the head's input.
        """
        stem, *stages, pool, _ = self.blocks
        x = stem(self.split(clips))
        maps = []
        for stage in stages:
            x = stage(x)
            maps.append(self._select(*x))
        return maps, pool(x).flatten(1)

    def split(self, clips: Tensor) -> list[Tensor]:
        """Return the clips of the slow and of the fast path.

        The T / alpha slow frames are spread from the first to the last frame, as in the training of
        the published weights. For alpha = 4 and 32 frames: 0, 4, 8, 13, 17, 22, 26, 31.

        Raises:
            RuntimeError: T is not a multiple of alpha.
        """
        num_frames = clips.shape[2]
        if num_frames % self.alpha:
            raise RuntimeError(
                f"SlowFast needs a multiple of {self.alpha} frames, got {num_frames}"
            )
        # Python integers instead of an index tensor avoid constant data on the device.
        num_steps = num_frames // self.alpha - 1
        frames = [i * (num_frames - 1) // max(1, num_steps) for i in range(num_steps + 1)]
        return [torch.stack([clips[:, :, i] for i in frames], dim=2), clips]

    def _select(self, slow: Tensor, fast: Tensor) -> Tensor:
        slow = slow[:, : fast.shape[1] * _BETA_INV]
        if self.paths != "fused":
            return slow if self.paths == "slow" else fast
        return torch.cat([slow, F.avg_pool3d(fast, (self.alpha, 1, 1))], dim=1)


def build(
    *,
    num_classes: int,
    width: int = 64,
    depths: tuple[int, int, int, int] = (3, 4, 6, 3),
    alpha: int = 4,
    fusion_kernel: int = 7,
    paths: str = "fused",
) -> SlowFast:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of ``blocks.6.proj``.
        width: Channels of the slow path's stem, a multiple of 8; the fast path has an eighth.
        depths: Blocks of the four stages, the same in both paths, each >= 1.
        alpha: Frames of the fast path per frame of the slow path.
        fusion_kernel: Temporal kernel size of the fast-to-slow connections.
        paths: Maps that ``SlowFast.features`` returns: "fused", "slow" or "fast".
    """
    with warnings.catch_warnings():
        # pytorchvideo imports fvcore.nn, which uses torch.jit.script; torch warns that it is old.
        warnings.simplefilter("ignore")
        from pytorchvideo.models.slowfast import create_slowfast
        from pytorchvideo.models.weight_init import init_net_weights

    net = create_slowfast(
        model_depth=18,  # one block per stage; the others are appended below
        model_num_class=num_classes,
        dropout_rate=0.0,
        stem_dim_outs=(width, width // _BETA_INV),
        slowfast_channel_reduction_ratio=(_BETA_INV,),
        slowfast_fusion_conv_kernel_size=(fusion_kernel, 1, 1),
        slowfast_fusion_conv_stride=(alpha, 1, 1),
        head_pool=nn.AdaptiveAvgPool3d,
    )
    for path, kernels in enumerate(_TEMPORAL_KERNELS):
        for stage, depth, kernel in zip(net.blocks[1:5], depths, kernels, strict=True):
            _append_blocks(stage.multipathway_blocks[path].res_blocks, depth - 1, kernel)
    init_net_weights(net)
    for module in net.modules():
        if hasattr(module, "multipathway_blocks"):
            module.inplace = False  # otherwise its forward changes the input list
        elif isinstance(module, nn.Conv3d):
            # pytorchvideo sets numpy integers, which torch.compile and export reject.
            module.stride = tuple(int(s) for s in module.stride)
    return SlowFast(net.blocks, alpha=alpha, paths=paths)


def _append_blocks(blocks: Any, count: int, kernel: int) -> None:
    """Append ``count`` blocks to a stage of one path; they keep the shape of its output."""
    from pytorchvideo.models.resnet import create_bottleneck_block, create_res_stage

    last_conv = blocks[0].branch2.conv_c
    more = create_res_stage(
        depth=count,
        dim_in=last_conv.out_channels,
        dim_inner=last_conv.in_channels,
        dim_out=last_conv.out_channels,
        bottleneck=create_bottleneck_block,
        conv_a_kernel_size=(kernel, 1, 1),
        conv_a_stride=(1, 1, 1),
        conv_a_padding=(kernel // 2, 0, 0),
        conv_b_stride=(1, 1, 1),
    )
    blocks.extend(more.res_blocks)
