"""Hugging Face's TimeSformer (divided attention) at any clip size, width and depth.

Needs only torch and transformers >= 5.18. Parameters and their names are those of
``TimesformerForVideoClassification``. At width 768 with 12 heads and 12 blocks, 8 frames and 224 px
they equal those of "facebook/timesformer-base-finetuned-k400".
"""

from torch import Tensor
from transformers import TimesformerConfig, TimesformerForVideoClassification


class ClipTimesformer(TimesformerForVideoClassification):
    """TimeSformer that takes clips (B, 3, T, H, W) and returns logits as a tensor."""

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, 3, T, H, W) to logits (B, K)."""
        self.check_size(clips)
        return super().forward(clips.transpose(1, 2)).logits

    def check_size(self, clips: Tensor) -> None:
        """Check that clips have the size of the network; other sizes would mix up tokens.

        Raises:
            ValueError: T, H or W differs.
        """
        size = self.config.image_size
        expected = (self.config.num_frames, size, size)
        if tuple(clips.shape[2:]) != expected:
            raise ValueError(
                f"the network was built for clips of (T, H, W) = {expected}, "
                f"got {tuple(clips.shape[2:])}"
            )


def build(
    *,
    num_classes: int,
    num_frames: int,
    crop_size: int,
    width: int = 768,
    num_heads: int = 12,
    num_blocks: int = 12,
    init_std: float = 0.02,
) -> ClipTimesformer:
    """Build the network with random weights.

    Args:
        num_classes: Outputs of ``classifier``.
        num_frames: Frames of a clip, >= 1.
        crop_size: Height and width of a clip in px, a multiple of 16.
        width: Channels, a multiple of ``num_heads``.
        num_heads: Attention heads.
        num_blocks: Transformer blocks.
        init_std: Standard deviation of the initial weights.
    """
    return ClipTimesformer(
        TimesformerConfig(
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
