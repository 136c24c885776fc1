"""Bringing one expert's features to a common width and grid (METHOD, stage 2, steps 1 and 2)."""

import torch.nn.functional as F
from torch import Tensor, nn

Grid = tuple[int, int, int]


class MapAdaptor(nn.Module):
    """BatchNorm over C, a 1x1x1 convolution to ``width`` channels, then resampling to a grid.

    Args:
        in_channels: C of the expert's map.
        width: Channels of the result.
        grid: (T, H, W) of the result.
    """

    def __init__(self, in_channels: int, width: int, *, grid: Grid) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(in_channels)
        self.conv = nn.Conv3d(in_channels, width, 1)
        self.grid = grid

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, t, h, w) of any float dtype to float32 (B, width, T, H, W)."""
        # Resampling and a 1x1x1 convolution commute; the smaller grid is the cheaper place.
        return self.conv(resample(self.norm(feature.float()), self.grid))


class EmbeddingAdaptor(nn.Module):
    """BatchNorm over D, then a linear layer to ``width``: the adaptor of the last level.

    Args:
        in_dim: D of the expert's embedding.
        width: Size of the result.
    """

    def __init__(self, in_dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_dim)
        self.linear = nn.Linear(in_dim, width)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map (B, D) of any float dtype to float32 (B, width)."""
        return self.linear(self.norm(embedding.float()))


def resample(feature: Tensor, grid: Grid) -> Tensor:
    """Resample a map (B, C, t, h, w) to (B, C, T, H, W), each axis up or down on its own.

    Axes that shrink are averaged over adaptive windows, axes that grow are interpolated linearly.
    """
    size = tuple(feature.shape[2:])
    if size == grid:
        return feature
    time, height, width = (min(old, new) for old, new in zip(size, grid, strict=True))
    smaller = (time, height, width)
    if smaller != size:
        feature = F.adaptive_avg_pool3d(feature, smaller)
    if smaller != grid:
        feature = F.interpolate(feature, size=grid, mode="trilinear", align_corners=False)
    return feature
