"""Hugging Face's V-JEPA 2 classifier at any clip size, width and depth.

Needs only torch and transformers >= 5.18. Parameters and their names are those of
``VJEPA2ForVideoClassification``. At width 1024 with 16 heads and 24 blocks they equal those of
"facebook/vjepa2-vitl-fpc16-256-ssv2".
"""

from torch import Tensor
from transformers import VJEPA2Config, VJEPA2ForVideoClassification


class ClipVJEPA2(VJEPA2ForVideoClassification):
    """V-JEPA 2 classifier that takes clips (B, 3, T, H, W) and returns logits as a tensor.

    The library's classifier contains the predictor of the pre-training, but never runs it. This
    class keeps it without gradients, so that weights stay interchangeable with the library.
    """

    def __init__(self, config: VJEPA2Config) -> None:
        super().__init__(config)
        self.vjepa2.predictor.requires_grad_(False)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, 3, T, H, W) to logits (B, K)."""
        self.check_size(clips)
        return super().forward(clips.transpose(1, 2)).logits

    def check_size(self, clips: Tensor) -> None:
        """Check that crops have the size of the network; others would get wrong positions.

        Raises:
            ValueError: H or W differs.
        """
        size = self.config.crop_size
        if tuple(clips.shape[3:]) != (size, size):
            raise ValueError(
                f"the network was built for clips of (H, W) = {(size, size)}, "
                f"got {tuple(clips.shape[3:])}"
            )


def build(
    *,
    num_classes: int,
    crop_size: int,
    width: int = 1024,
    num_heads: int = 16,
    num_blocks: int = 24,
    mlp_ratio: float = 4.0,
    predictor: tuple[int, int, int] = (384, 12, 12),
    init_std: float = 0.02,
) -> ClipVJEPA2:
    """Build the network with random weights; clips may have any even number of frames.

    Args:
        num_classes: Outputs of ``classifier``.
        crop_size: Height and width of a clip in px, a multiple of 16.
        width: Channels, a multiple of ``num_heads``.
        num_heads: Attention heads.
        num_blocks: Transformer blocks.
        mlp_ratio: Hidden channels of a block's MLP relative to ``width``.
        predictor: Channels, heads and blocks of the predictor, which never runs.
        init_std: Standard deviation of the initial weights.
    """
    return ClipVJEPA2(
        VJEPA2Config(
            num_labels=num_classes,
            crop_size=crop_size,
            hidden_size=width,
            num_attention_heads=num_heads,
            num_hidden_layers=num_blocks,
            mlp_ratio=mlp_ratio,
            pred_hidden_size=predictor[0],
            pred_num_attention_heads=predictor[1],
            pred_num_hidden_layers=predictor[2],
            initializer_range=init_std,
        )
    )
