"""Trunk: the experts' maps are fused at the lowest level only, as in the published code."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from videokd.fusion.adaptors import Grid, resample
from videokd.fusion.operator import EMBEDDING, FusionLayer, Shape
from videokd.fusion.pyramid import MapShape, Pyramid, compute_stride


class Trunk(Pyramid):
    """Fusion at the lowest level l1, with convolutions from there on.

        F^l1 as in ``Pyramid``;  F^l = GELU(BN(conv(F^(l-1)))),  conv as in ``TrunkLevel``
        embedding = linear(avgpool(F^top))

    Without levels it is the pyramid's embedding.
    """

    @staticmethod
    def tapped(levels: Sequence[str]) -> tuple[str, ...]:
        """Return the lowest level, or the embedding if there are no levels."""
        return (*levels, EMBEDDING)[:1]

    def build_layer(self, level: str, below: Shape) -> FusionLayer:
        """Build the layer of a level, or of the embedding."""
        if not below:
            return super().build_layer(level, below)
        if level == EMBEDDING:
            return PooledEmbedding(below[0], self.shapes.embedding_dim)
        return TrunkLevel(cast(MapShape, below), self.shapes.levels[level])


class TrunkLevel(FusionLayer):
    """Fused map F^l from F^(l-1) alone: GELU(BN(conv(F^(l-1)))).

    The convolution is strided 3x3x3 if the grid shrinks along any axis, and 1x1x1 if the grid
    stays.

    Args:
        below: (C, T, H, W) of F^(l-1).
        shape: (C, T, H, W) of the result.
    """

    def __init__(self, below: MapShape, shape: MapShape) -> None:
        super().__init__(below)
        self.grid: Grid = shape[1:]
        size = 1 if below[1:] == self.grid else 3
        stride = compute_stride(below, shape)
        self.conv = nn.Conv3d(
            below[0], shape[0], size, stride=stride, padding=size // 2, bias=False
        )
        self.norm = nn.BatchNorm3d(shape[0])

    def forward(
        self,
        maps: Mapping[str, Tensor],
        below: Tensor | None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Map F^(l-1), ``below``, to F^l (B, C, T, H, W)."""
        # Odd sizes can leave the strided map one cell off the grid.
        return F.gelu(self.norm(resample(self.conv(below), self.grid)))


class PooledEmbedding(FusionLayer):
    """Embedding of a trunk: a linear layer on the global average of the top fused map.

    Args:
        top_channels: C of the top fused map.
        out_dim: D of the result.
    """

    def __init__(self, top_channels: int, out_dim: int) -> None:
        super().__init__((top_channels,))
        self.linear = nn.Linear(top_channels, out_dim)

    def forward(
        self,
        maps: Mapping[str, Tensor],
        below: Tensor | None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Map the top map, ``below``, to (B, D)."""
        return self.linear(cast(Tensor, below).mean(dim=(2, 3, 4)))
