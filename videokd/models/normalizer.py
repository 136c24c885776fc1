"""From clips in [0, 1] to what a network was trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ClipNormalizer(nn.Module):
    """Subtract a mean and divide by a standard deviation per colour; turn RGB to BGR if need be.

    Both are preprocessing and no weights: they are absent from ``state_dict()``.

    Args:
        mean: Per RGB channel, of values in [0, 1].
        std: Per RGB channel, > 0.
        channels: "rgb" or "bgr", in which the network takes the colours.
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
        """Normalise clips (B, 3, T, H, W), float RGB in [0, 1]."""
        clips = (clips - self.mean) / self.std
        return clips.flip(1) if self.is_bgr else clips
