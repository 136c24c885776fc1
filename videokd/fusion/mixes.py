"""Ways to mix the experts' adapted maps of one level into the fused map.

A mix is a module that maps a list of N maps (B, width, T, H, W), those of the experts and possibly
that of the level below, to one map (B, C, T, H, W) before its last norm. A new mix is one class and
one entry in ``MIXES``.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvMix(nn.Module):
    """Convolution of the concatenated maps: conv(GELU(BN(cat(a_1 .. a_N)))).

    Args:
        num_maps: N.
        width: Channels of each map.
        out_channels: C.
        size: Kernel size, 1 (as published) or 3 (spatiotemporal).
    """

    def __init__(self, num_maps: int, width: int, out_channels: int, *, size: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(num_maps * width)
        self.conv = nn.Conv3d(num_maps * width, out_channels, size, padding=size // 2, bias=False)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Mix N maps."""
        return self.conv(F.gelu(self.norm(torch.cat(list(maps), dim=1))))


class Conv3Mix(ConvMix):
    """``ConvMix`` with a 3x3x3 convolution."""

    def __init__(self, num_maps: int, width: int, out_channels: int) -> None:
        super().__init__(num_maps, width, out_channels, size=3)


class GateMix(nn.Module):
    """Sum of the maps, weighted by a gate per map and position: conv(GELU(BN(sum_i g_i a_i))).

    g = softmax over i of a 1x1x1 convolution of the concatenated maps.

    Args:
        num_maps: N.
        width: Channels of each map.
        out_channels: C.
    """

    def __init__(self, num_maps: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv3d(num_maps * width, num_maps, 1)
        self.last = ConvMix(1, width, out_channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Mix N maps."""
        gates = self.gate(torch.cat(list(maps), dim=1)).softmax(dim=1)
        return self.last([(gates[:, :, None] * torch.stack(list(maps), dim=1)).sum(dim=1)])


class AttentionMix(nn.Module):
    """Attention over the maps at each position: conv(GELU(BN(sum_i w_i V a_i))).

    w = softmax over i of (Q m) . (K a_i) / sqrt(width), m the mean of the maps.

    Args:
        num_maps: N; the layers do not depend on it.
        width: Channels of each map.
        out_channels: C.
    """

    def __init__(self, num_maps: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.query = nn.Conv3d(width, width, 1)
        self.key = nn.Conv3d(width, width, 1)
        self.value = nn.Conv3d(width, width, 1)
        self.last = ConvMix(1, width, out_channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Mix N maps."""
        query = self.query(torch.stack(list(maps)).mean(dim=0))
        keys = torch.stack([self.key(one) for one in maps], dim=1)
        values = torch.stack([self.value(one) for one in maps], dim=1)
        scores = (query[:, None] * keys).sum(dim=2, keepdim=True) / query.shape[1] ** 0.5
        return self.last([(scores.softmax(dim=1) * values).sum(dim=1)])


# Value of JOINT.MIX -> class.
MIXES: dict[str, type[nn.Module]] = {
    "conv1": ConvMix,
    "conv3": Conv3Mix,
    "gates": GateMix,
    "attention": AttentionMix,
}
