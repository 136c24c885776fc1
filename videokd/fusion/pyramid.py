"""Pyramid: the experts' maps are fused at every level, with the fused map of the level below."""

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videokd.fusion.adaptors import EmbeddingAdaptor, Grid, MapAdaptor, adapt, resample
from videokd.fusion.mixes import MIXES
from videokd.fusion.operator import EMBEDDING, FusionLayer, FusionOperator, Shape

MapShape = tuple[int, int, int, int]


class Pyramid(FusionOperator):
    """Fusion at every level (METHOD, stage 2).

    For the levels l = l1 < l2 < ... and experts i:
        a_i^l = resample(conv1x1x1(S(f_i^l)), grid of l)                   width channels each
        F^l   = GELU(BN(mix(a_1^l .. a_N^l, down(F^(l-1)))))
    where S standardises (by default: BN), mix is one of ``MIXES`` (by default a 1x1x1 convolution
    of the concatenated maps) and down is a strided 3x3x3 convolution to ``width`` channels, absent
    at l1, and
        embedding = GELU(BN(linear(cat(a_1^emb .. a_N^emb, avgpool(F^top)))))
    Without levels there is no F^top.
    """

    def build_layer(self, level: str, below: Shape) -> FusionLayer:
        """Build the layer of a level, or of the embedding."""
        sizes = self.expert_sizes(level)
        if level == EMBEDDING:
            return FusedEmbedding(
                sizes,
                below[0] if below else 0,
                self.shapes.embedding_dim,
                width=self.width,
                standardise=self.standardise,
            )
        return FusedLevel(
            sizes,
            self.shapes.levels[level],
            below=cast(MapShape, below) if below else None,
            width=self.width,
            standardise=self.standardise,
            mix=self.mix,
        )


class FusedLevel(FusionLayer):
    """Fused map F^l from the experts' maps and, in a pyramid, the fused map of the level below.

    Args:
        channels: Expert name -> C of its map.
        shape: (C, T, H, W) of the result.
        below: (C, T, H, W) of F^(l-1); None at the lowest level.
        width: Channels of every adaptor.
        standardise: One of ``FusionOptions.standardise``.
        mix: One of ``MIXES``.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        shape: MapShape,
        *,
        below: MapShape | None,
        width: int,
        standardise: str = "batch_norm",
        mix: str = "conv1",
    ) -> None:
        grid: Grid = shape[1:]
        num_inputs = len(channels) + (below is not None)
        super().__init__(
            (num_inputs * width, *grid),
            {
                name: MapAdaptor(c, width, grid=grid, standardise=standardise)
                for name, c in channels.items()
            },
        )
        self.grid = grid
        self.down: nn.Module | None = None
        if below is not None:
            stride = compute_stride(below, shape)
            self.down = nn.Conv3d(below[0], width, 3, stride=stride, padding=1)
        self.mix = MIXES[mix](num_inputs, width, shape[0])
        self.norm = nn.BatchNorm3d(shape[0])

    def forward(
        self,
        maps: Mapping[str, Tensor],
        below: Tensor | None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Fuse the experts' maps, and F^(l-1) if there is one, to (B, C, T, H, W)."""
        parts = adapt(self.adaptors, maps, weights)
        if self.down is not None:
            # Odd sizes can leave the strided map one cell off the grid.
            parts.append(resample(self.down(below), self.grid))
        return F.gelu(self.norm(self.mix(parts)))


class FusedEmbedding(FusionLayer):
    """Fused embedding from the experts' embeddings and, if there is one, the top fused map.

    Args:
        dims: Expert name -> D of its embedding.
        top_channels: C of the top fused map; 0 without one.
        out_dim: D of the result.
        width: Size of every adaptor's result.
        standardise: One of ``FusionOptions.standardise``.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        top_channels: int,
        out_dim: int,
        *,
        width: int,
        standardise: str = "batch_norm",
    ) -> None:
        num_inputs = len(dims) * width + top_channels
        super().__init__(
            (num_inputs,),
            {
                name: EmbeddingAdaptor(dim, width, standardise=standardise)
                for name, dim in dims.items()
            },
        )
        self.linear = nn.Linear(num_inputs, out_dim, bias=False)
        self.norm = nn.BatchNorm1d(out_dim)

    def forward(
        self,
        maps: Mapping[str, Tensor],
        below: Tensor | None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Fuse the experts' embeddings, and the top map if there is one, to (B, D)."""
        parts = adapt(self.adaptors, maps, weights)
        if below is not None:
            parts.append(below.mean(dim=(2, 3, 4)))
        return F.gelu(self.norm(self.linear(torch.cat(parts, dim=1))))


def compute_stride(below: MapShape, shape: MapShape) -> tuple[int, int, int]:
    """Return the strides over T, H and W from one grid to a coarser one."""
    t, h, w = (max(1, round(b / g)) for b, g in zip(below[1:], shape[1:], strict=True))
    return t, h, w
