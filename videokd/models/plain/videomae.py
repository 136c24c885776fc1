"""Hugging Face's VideoMAE at any clip size, width and depth.

Needs only torch and transformers >= 5.18. Parameters and their names are those of
``VideoMAEForVideoClassification``. At width 768 with 12 heads and 12 blocks they equal those of
"MCG-NJU/videomae-base-finetuned-kinetics".
"""

from collections.abc import Callable

from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEForVideoClassification


class ClipVideoMAE(VideoMAEForVideoClassification):
    """VideoMAE that takes clips (B, 3, T, H, W) and returns logits as a tensor."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ClipVideoMAE":
        # The library keeps position embeddings as a plain tensor and copies them from the CPU in
        # every forward; here they move with the weights. As a buffer, `from_pretrained` would leave
        # them uninitialised.
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
