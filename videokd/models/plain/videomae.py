"""Hugging Face's VideoMAE at any clip size, width and depth.

Needs torch and transformers >= 5.18 only. Parameters and their names are those of
``VideoMAEForVideoClassification``; at width 768 with 12 heads and 12 blocks it has those of
"MCG-NJU/videomae-base-finetuned-kinetics".
"""

from collections.abc import Callable

from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEForVideoClassification


class ClipVideoMAE(VideoMAEForVideoClassification):
    """VideoMAE that takes clips with the channels before the frames and returns plain logits."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ClipVideoMAE":
        # The table of positions is neither weight nor buffer in the library, which copies it from
        # the CPU in every forward. Here it moves with the weights. As a buffer it would be filled
        # with whatever lies in memory by `from_pretrained`.
        super()._apply(fn, recurse)
        embeddings = self.videomae.embeddings
        embeddings.position_embeddings = fn(embeddings.position_embeddings)
        return self

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
) -> ClipVideoMAE:
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
    return ClipVideoMAE(
        VideoMAEConfig(
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
