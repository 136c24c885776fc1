"""Adaptors of an expert's features to a common width and grid (METHOD, stage 2, steps 1 and 2)."""

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from videokd.fusion.standardise import PhiStandardiser, RunningStandardiser

Grid = tuple[int, int, int]


class MapAdaptor(nn.Module):
    """Adaptor of a map: standardisation over C, a 1x1x1 convolution to ``width``, resampling.

    Args:
        in_channels: C of the expert's map.
        width: Channels of the result.
        grid: (T, H, W) of the result.
        standardise: One of ``FusionOptions.standardise``.
    """

    def __init__(
        self, in_channels: int, width: int, *, grid: Grid, standardise: str = "batch_norm"
    ) -> None:
        super().__init__()
        self.norm = _make_norm(standardise, in_channels, nn.BatchNorm3d)
        self.conv = nn.Conv3d(in_channels, width, 1)
        self.grid = grid

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, C, t, h, w) of any float dtype to float32 (B, width, T, H, W)."""
        # Resampling and a 1x1x1 convolution commute; convolving the smaller grid is cheaper.
        return self.conv(resample(self.norm(feature.float()), self.grid))


class EmbeddingAdaptor(nn.Module):
    """Adaptor of an embedding: standardisation over D, then a linear layer to ``width``.

    Args:
        in_dim: D of the expert's embedding.
        width: Size of the result.
        standardise: One of ``FusionOptions.standardise``.
    """

    def __init__(self, in_dim: int, width: int, *, standardise: str = "batch_norm") -> None:
        super().__init__()
        self.norm = _make_norm(standardise, in_dim, nn.BatchNorm1d)
        self.linear = nn.Linear(in_dim, width)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map (B, D) of any float dtype to float32 (B, width)."""
        return self.linear(self.norm(embedding.float()))


def adapt(
    adaptors: nn.ModuleDict, features: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None
) -> list[Tensor]:
    """Return each expert's adapted features, in the order of the adaptors.

    Args:
        adaptors: Expert name -> adaptor.
        features: Expert name -> (B, C, ...).
        weights: Expert name -> (B,), factors of each clip's result; None for 1.
    """
    adapted = {name: adaptor(features[name]) for name, adaptor in adaptors.items()}
    if weights is None:
        return list(adapted.values())
    return [x * weights[name].view(-1, *(1,) * (x.ndim - 1)) for name, x in adapted.items()]


def resample(feature: Tensor, grid: Grid) -> Tensor:
    """Resample a map (B, C, t, h, w) to (B, C, T, H, W), each axis up or down independently.

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


def _make_norm(
    standardise: str, channels: int, batch_norm: Callable[[int], nn.Module]
) -> nn.Module:
    makers: dict[str, Callable[[int], nn.Module]] = {
        "none": nn.Identity,
        "batch_norm": batch_norm,
        "running": RunningStandardiser,
        "phi_s": PhiStandardiser,
    }
    return makers[standardise](channels)
