"""torchvision's MViT, versions 1 and 2, at any clip size, width and depth.

Needs only torch and torchvision. At width 96, depths (1, 2, 11, 2), 16 frames and 224 px it has
the parameters of ``torchvision.models.video.mvit_v1_b`` and ``mvit_v2_s``.
"""

from torch import Tensor, nn
from torchvision.models.video.mvit import MSBlockConfig, MViT


class GapMViT(MViT):
    """MViT that classifies the mean of the last block's tokens instead of the class token.

    The parameters and their names are those of ``MViT``. On small datasets, training through the
    class token is so slow that it hardly starts; the mean is the usual remedy for small
    transformers.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map clips (B, 3, T, H, W) to logits (B, K)."""
        x = self.conv_proj(x)
        thw = tuple(x.shape[2:])
        x = self.pos_encoding(x.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x, thw = block(x, thw)
        return self.head(self.norm(x)[:, 1:].mean(dim=1))


_NUM_HEADS = (1, 2, 4, 8)
_KV_STRIDES = (8, 4, 2, 1)  # spatial strides of the attention's keys and values, per stage


def build(
    *,
    num_classes: int,
    num_frames: int,
    crop_size: int,
    width: int = 96,
    depths: tuple[int, int, int, int] = (1, 2, 11, 2),
    stochastic_depth: float = 0.2,
    pool: str = "class_token",
    version: int = 2,
) -> MViT:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of ``head.1``.
        num_frames: Frames of a clip, a multiple of 2.
        crop_size: Height and width of a clip in px, a multiple of 4.
        width: Channels of the first stage, a multiple of 8. Each later stage doubles them: version
            2 in its first block, version 1 in the last block of the previous stage.
        depths: Blocks of the four stages, each >= 1.
        stochastic_depth: Probability of dropping the last block's branches in training.
        pool: Input of the classifier: "class_token" as in torchvision, or "mean" over the other
            tokens.
        version: 1 or 2. Version 1 has absolute position embeddings, learnt for this clip size, and
            pools queries only at the start of a stage.
    """
    is_v2 = version == 2
    net = (GapMViT if pool == "mean" else MViT)(
        spatial_size=(crop_size, crop_size),
        temporal_size=num_frames,
        block_setting=_block_setting(width, depths, is_v2),
        residual_pool=is_v2,
        residual_with_cls_embed=False,
        rel_pos_embed=is_v2,
        proj_after_attn=is_v2,
        dropout=0.0,
        stochastic_depth_prob=stochastic_depth,
        num_classes=num_classes,
    )
    if width < 96:
        _widen_init(net)
    return net


def _widen_init(net: MViT) -> None:
    # MViT initialises linear layers with std 0.02, which suits hundreds of channels. With a few
    # dozen, the branches would add almost nothing to their residuals and training would not start.
    for module in net.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)


def _block_setting(width: int, depths: tuple[int, ...], is_v2: bool) -> list[MSBlockConfig]:
    settings = []
    channels = width
    for stage, depth in enumerate(depths):
        for block in range(depth):
            starts_stage = stage > 0 and block == 0
            widens_early = not is_v2 and block == depth - 1 and stage < len(depths) - 1
            out_channels = width * 2 ** (stage + widens_early)
            no_stride = [1, 1, 1] if is_v2 else []
            settings.append(
                MSBlockConfig(
                    num_heads=_NUM_HEADS[stage],
                    input_channels=channels,
                    output_channels=out_channels,
                    kernel_q=[3, 3, 3] if is_v2 or starts_stage else [],
                    kernel_kv=[3, 3, 3],
                    stride_q=[1, 2, 2] if starts_stage else no_stride,
                    stride_kv=[1, _KV_STRIDES[stage], _KV_STRIDES[stage]],
                )
            )
            channels = out_channels
    return settings
