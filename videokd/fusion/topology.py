"""Layers of a joint teacher, each computing one fused map or embedding."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videokd.fusion.adaptors import EmbeddingAdaptor, Grid, MapAdaptor, adapt, resample

MapShape = tuple[int, int, int, int]


class FusedLevel(nn.Module):
    """Fused map F^l from the experts' maps and, in a pyramid, the fused map of the level below.

    Args:
        channels: Expert name -> C of its map.
        shape: (C, T, H, W) of the result.
        below: (C, T, H, W) of F^(l-1); None at the lowest level.
        width: Channels of every adaptor.
        standardise: One of ``FusionOptions.standardise``.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        shape: MapShape,
        *,
        below: MapShape | None,
        width: int,
        standardise: str = "batch_norm",
    ) -> None:
        super().__init__()
        self.grid: Grid = shape[1:]
        self.adaptors = nn.ModuleDict(
            {
                name: MapAdaptor(c, width, grid=self.grid, standardise=standardise)
                for name, c in channels.items()
            }
        )
        self.down: nn.Module | None = None
        if below is not None:
            stride = _compute_stride(below, shape)
            self.down = nn.Conv3d(below[0], width, 3, stride=stride, padding=1)
        num_inputs = len(channels) + (below is not None)
        self.mix_norm = nn.BatchNorm3d(num_inputs * width)
        self.mix = nn.Conv3d(num_inputs * width, shape[0], 1, bias=False)
        self.norm = nn.BatchNorm3d(shape[0])

    def forward(
        self,
        maps: Mapping[str, Tensor],
        below: Tensor | None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Fuse maps (B, C_i, t, h, w), and F^(l-1) if there is one, to (B, C, T, H, W).

        ``weights`` are passed to ``adapt``.
        """
        parts = adapt(self.adaptors, maps, weights)
        if self.down is not None:
            # Odd sizes can leave the strided map one cell off the grid.
            parts.append(resample(self.down(below), self.grid))
        mixed = self.mix(F.gelu(self.mix_norm(torch.cat(parts, dim=1))))
        return F.gelu(self.norm(mixed))


class TrunkLevel(nn.Module):
    """Fused map F^l from F^(l-1) alone: GELU(BN(conv(F^(l-1)))).

    The convolution is strided 3x3x3 if the grid shrinks along any axis, and 1x1x1 if the grid
    stays.

    Args:
        below: (C, T, H, W) of F^(l-1).
        shape: (C, T, H, W) of the result.
    """

    def __init__(self, below: MapShape, shape: MapShape) -> None:
        super().__init__()
        self.grid: Grid = shape[1:]
        size = 1 if below[1:] == self.grid else 3
        stride = _compute_stride(below, shape)
        self.conv = nn.Conv3d(
            below[0], shape[0], size, stride=stride, padding=size // 2, bias=False
        )
        self.norm = nn.BatchNorm3d(shape[0])

    def forward(self, below: Tensor) -> Tensor:
        """Map F^(l-1) (B, C', t, h, w) to F^l (B, C, T, H, W)."""
        # Odd sizes can leave the strided map one cell off the grid.
        return F.gelu(self.norm(resample(self.conv(below), self.grid)))


class FusedEmbedding(nn.Module):
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
        super().__init__()
        self.adaptors = nn.ModuleDict(
            {
                name: EmbeddingAdaptor(dim, width, standardise=standardise)
                for name, dim in dims.items()
            }
        )
        self.linear = nn.Linear(len(dims) * width + top_channels, out_dim, bias=False)
        self.norm = nn.BatchNorm1d(out_dim)

    def forward(
        self,
        embeddings: Mapping[str, Tensor],
        top: Tensor | None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Fuse embeddings (B, D_i) and the top map (B, C, T, H, W), if any, to (B, D).

        ``weights`` are passed to ``adapt``.
        """
        parts = adapt(self.adaptors, embeddings, weights)
        if top is not None:
            parts.append(top.mean(dim=(2, 3, 4)))
        return F.gelu(self.norm(self.linear(torch.cat(parts, dim=1))))


class PooledEmbedding(nn.Module):
    """Embedding of a trunk: a linear layer on the global average of the top fused map.

    Args:
        top_channels: C of the top fused map.
        out_dim: D of the result.
    """

    def __init__(self, top_channels: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(top_channels, out_dim)

    def forward(self, top: Tensor) -> Tensor:
        """Map the top map (B, C, T, H, W) to (B, D)."""
        return self.linear(top.mean(dim=(2, 3, 4)))


def _compute_stride(below: MapShape, shape: MapShape) -> tuple[int, int, int]:
    t, h, w = (max(1, round(b / g)) for b, g in zip(below[1:], shape[1:], strict=True))
    return t, h, w
