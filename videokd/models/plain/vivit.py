"""Hugging Face's ViViT (unfactorised) at any clip size, width and depth.

Needs only torch and transformers >= 5.18. Parameters and their names are those of
``VivitForVideoClassification``. At width 768 with 12 heads and 12 blocks, 32 frames and 224 px they
equal those of "google/vivit-b-16x2-kinetics400".
"""

from torch import Tensor
from transformers import VivitConfig, VivitForVideoClassification


class ClipVivit(VivitForVideoClassification):
    """ViViT that takes clips (B, 3, T, H, W) and returns logits as a tensor."""

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, 3, T, H, W) to logits (B, K)."""
        return super().forward(clips.transpose(1, 2)).logits


def build(
    *,
    num_classes: int,
    num_frames: int,
    crop_size: int,
    width: int = 768,
    num_heads: int = 12,
    num_blocks: int = 12,
    init_std: float = 0.02,
) -> ClipVivit:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of ``classifier``.
        num_frames: Frames of a clip, a multiple of 2.
        crop_size: Height and width of a clip in px, a multiple of 16.
        width: Channels, a multiple of ``num_heads``.
        num_heads: Attention heads.
        num_blocks: Transformer blocks.
        init_std: Standard deviation of the initial weights.
    """
    return ClipVivit(
        VivitConfig(
            num_labels=num_classes,
            num_frames=num_frames,
            image_size=crop_size,
            hidden_size=width,
            num_attention_heads=num_heads,
            num_hidden_layers=num_blocks,
            intermediate_size=4 * width,
            initializer_range=init_std,
        )
    )
