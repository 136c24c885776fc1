"""pytorchvideo's MViT at any clip size, width and depth.

Needs only torch and pytorchvideo. At width 96, depths (1, 2, 11, 2) and 224 px the network has the
parameters of ``mvit_base_16x4`` for 16 frames, and of ``mvit_base_32x3`` for 32 frames.
"""

import warnings
from itertools import accumulate

from torch import nn


def build(
    *,
    num_classes: int,
    num_frames: int,
    crop_size: int,
    width: int = 96,
    depths: tuple[int, int, int, int] = (1, 2, 11, 2),
    stochastic_depth: float = 0.2,
) -> nn.Module:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of ``head.proj``.
        num_frames: Frames of a clip, a multiple of 2.
        crop_size: Height and width of a clip in px, a multiple of 4.
        width: Channels of the first block, a multiple of 8; the last block of each of the first
            three stages doubles them.
        depths: Blocks of the four stages, each >= 1.
        stochastic_depth: Probability of dropping the last block's branches in training.
    """
    with warnings.catch_warnings():
        # pytorchvideo imports fvcore.nn, which uses torch.jit.script; torch warns that it is old.
        warnings.simplefilter("ignore")
        from pytorchvideo.models.vision_transformers import create_multiscale_vision_transformers

    starts = list(accumulate(depths[:3]))
    net = create_multiscale_vision_transformers(
        spatial_size=crop_size,
        temporal_size=num_frames,
        depth=sum(depths),
        patch_embed_dim=width,
        droppath_rate_block=stochastic_depth,
        embed_dim_mul=[[start, 2.0] for start in starts],
        atten_head_mul=[[start, 2.0] for start in starts],
        pool_q_stride_size=[[start, 1, 2, 2] for start in starts],
        pool_kv_stride_adaptive=[1, 8, 8],
        pool_kvq_kernel=[3, 3, 3],
        head_dropout_rate=0.0,
        head_num_classes=num_classes,
    )
    if width < 96:
        _widen_init(net.blocks)
    return net


def _widen_init(blocks: nn.Module) -> None:
    # MViT initialises linear layers with std 0.02, which suits hundreds of channels. With a few
    # dozen, the branches would add almost nothing to their residuals and training would not start.
    for module in blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
