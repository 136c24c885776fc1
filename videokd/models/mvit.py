"""Backbones of torchvision's MViT family."""

from itertools import accumulate

from torch import Tensor
from torchvision.models.video.mvit import MViT

from videokd.models.levels import LEVEL_NAMES, Backbone, Features, tokens_to_grid
from videokd.models.plain.mvit import GapMViT


class MViTBackbone(Backbone):
    """Levels are the tokens after each stage's last block, as a map without the class token.

    Strides over (T, H, W): (2, 4, 4), (2, 8, 8), (2, 16, 16), (2, 32, 32). The embedding is the
    normalised class token, or the mean of the other normalised tokens for ``GapMViT``.

    Args:
        net: The network.
        depths: Blocks of each of the four stages.
    """

    head_name = "head.1"

    def __init__(self, net: MViT, depths: tuple[int, int, int, int]) -> None:
        super().__init__(net)
        self._last_blocks = {
            last - 1: name for name, last in zip(LEVEL_NAMES, accumulate(depths), strict=True)
        }

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        net = self.net
        patches = net.conv_proj(clips)
        thw = tuple(patches.shape[2:])
        tokens = net.pos_encoding(patches.flatten(2).transpose(1, 2))
        levels = {}
        for i, block in enumerate(net.blocks):
            tokens, thw = block(tokens, thw)
            if i in self._last_blocks:
                levels[self._last_blocks[i]] = tokens_to_grid(tokens, thw)
        tokens = net.norm(tokens)
        is_mean = isinstance(net, GapMViT)
        return Features(levels, tokens[:, 1:].mean(dim=1) if is_mean else tokens[:, 0])

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its submodules in ``net``; see ``Backbone``."""
        stages, start = {}, 0
        for last, name in self._last_blocks.items():
            stages[name] = tuple(f"blocks.{i}" for i in range(start, last + 1))
            start = last + 1
        return {"stem": ("conv_proj", "pos_encoding"), **stages, "embedding": ("norm",)}
