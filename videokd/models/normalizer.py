"""Normalisation of clips in [0, 1] to a network's input range and colour order."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ClipNormalizer(nn.Module):
    """Normaliser by mean and standard deviation per colour, with optional RGB to BGR conversion.

    Mean and standard deviation are preprocessing, not weights, and are absent from
    ``state_dict()``.

    Args:
        mean: Mean per RGB channel, for values in [0, 1].
        std: Standard deviation per RGB channel, > 0.
        channels: Colour order of the network's input, "rgb" or "bgr".
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        channels: str = "rgb",
    ) -> None:
        super().__init__()
        if channels not in ("rgb", "bgr"):
            raise ValueError(f'channels must be "rgb" or "bgr", got {channels!r}')
        self.is_bgr = channels == "bgr"
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1, 1), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Return normalised clips, from (B, 3, T, H, W) float RGB in [0, 1]."""
        clips = (clips - self.mean) / self.std
        return clips.flip(1) if self.is_bgr else clips
