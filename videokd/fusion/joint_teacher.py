"""The joint teacher T*: frozen experts fused at several levels, one classifier per dataset."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videokd.fusion.adaptors import EmbeddingAdaptor, Grid, MapAdaptor, resample
from videokd.models.classifier import VideoClassifier
from videokd.models.frozen import Frozen
from videokd.models.levels import Features, LevelShapes
from videokd.utils.errors import InputError


class JointTeacher(nn.Module):
    """Fuse the experts' features of a clip, level by level (METHOD, stage 2, ``pyramid``).

    For the levels l = l1 < l2 < ... and experts i:
        a_i^l = resample(conv1x1x1(BN(f_i^l)), grid of l)                  width channels each
        F^l   = GELU(BN(conv1x1x1(GELU(BN(cat(a_1^l .. a_N^l, down(F^(l-1))))))))
    where down is a strided 3x3x3 convolution to ``width`` channels, absent at l1, and
        embedding = GELU(BN(linear(cat(a_1^emb .. a_N^emb, avgpool(F^top)))))
    The clip may come from any dataset; every expert sees it, with its own normalisation.

    Args:
        experts: Dataset name -> its expert. They stay frozen and outside ``state_dict()``.
        expert_shapes: Dataset name -> shapes of its expert's levels.
        shapes: The shapes of the result: the student's own, so that it needs no projector.
        levels: Names of the fused levels, low to high.
        num_classes: Dataset name -> number of classes; one classifier each.
        width: Channels of every adaptor.
        dropout: Probability before the classifiers.

    Raises:
        InputError: A level that an expert or ``shapes`` does not have.
    """

    def __init__(
        self,
        experts: Mapping[str, VideoClassifier],
        expert_shapes: Mapping[str, LevelShapes],
        *,
        shapes: LevelShapes,
        levels: Sequence[str],
        num_classes: Mapping[str, int],
        width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        _check_levels(levels, {**expert_shapes, "the student": shapes})
        self.experts = nn.ModuleDict({name: Frozen(expert) for name, expert in experts.items()})
        self.fusions = nn.ModuleDict()
        below: tuple[int, int, int, int] | None = None
        for level in levels:
            channels = {name: expert_shapes[name].levels[level][0] for name in experts}
            self.fusions[level] = FusedLevel(
                channels, shapes.levels[level], below=below, width=width
            )
            below = shapes.levels[level]
        assert below is not None
        dims = {name: expert_shapes[name].embedding_dim for name in experts}
        self.embed = FusedEmbedding(dims, below[0], shapes.embedding_dim, width=width)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(shapes.embedding_dim, k) for name, k in num_classes.items()}
        )

    def forward(self, clips: Tensor) -> Features:
        """Fuse the experts' features of clips (B, 3, T, H, W), float32 RGB in [0, 1]."""
        seen = {name: expert(clips) for name, expert in self.experts.items()}
        levels: dict[str, Tensor] = {}
        fused: Tensor | None = None
        for level, fusion in self.fusions.items():
            fused = fusion({name: f.levels[level] for name, f in seen.items()}, fused)
            levels[level] = fused
        embedding = self.embed({name: f.embedding for name, f in seen.items()}, fused)
        return Features(levels, embedding)

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Map embeddings (B, D) to the float32 logits (B, K) of ``dataset``'s classes."""
        return self.heads[dataset](self.dropout(embedding.float()))


class FusedLevel(nn.Module):
    """One fused map F^l from the experts' maps and the fused map of the level below.

    Args:
        channels: Expert name -> C of its map.
        shape: (C, T, H, W) of the result.
        below: (C, T, H, W) of F^(l-1); None at the lowest level.
        width: Channels of every adaptor.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        shape: tuple[int, int, int, int],
        *,
        below: tuple[int, int, int, int] | None,
        width: int,
    ) -> None:
        super().__init__()
        out_channels, *grid = shape
        self.grid: Grid = (grid[0], grid[1], grid[2])
        self.adaptors = nn.ModuleDict(
            {name: MapAdaptor(c, width, grid=self.grid) for name, c in channels.items()}
        )
        self.down: nn.Module | None = None
        if below is not None:
            t, h, w = (max(1, round(b / g)) for b, g in zip(below[1:], self.grid, strict=True))
            self.down = nn.Conv3d(below[0], width, 3, stride=(t, h, w), padding=1)
        num_inputs = len(channels) + (below is not None)
        self.mix_norm = nn.BatchNorm3d(num_inputs * width)
        self.mix = nn.Conv3d(num_inputs * width, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm3d(out_channels)

    def forward(self, maps: Mapping[str, Tensor], below: Tensor | None) -> Tensor:
        """Fuse maps (B, C_i, t, h, w) and F^(l-1), when there is one, to (B, C, T, H, W)."""
        parts = [adaptor(maps[name]) for name, adaptor in self.adaptors.items()]
        if self.down is not None:
            # Odd sizes can leave the strided map one cell off the grid.
            parts.append(resample(self.down(below), self.grid))
        mixed = self.mix(F.gelu(self.mix_norm(torch.cat(parts, dim=1))))
        return F.gelu(self.norm(mixed))


class FusedEmbedding(nn.Module):
    """The fused embedding from the experts' embeddings and the top fused map.

    Args:
        dims: Expert name -> D of its embedding.
        top_channels: C of the top fused map.
        out_dim: D of the result.
        width: Size of every adaptor's result.
    """

    def __init__(
        self, dims: Mapping[str, int], top_channels: int, out_dim: int, *, width: int
    ) -> None:
        super().__init__()
        self.adaptors = nn.ModuleDict(
            {name: EmbeddingAdaptor(dim, width) for name, dim in dims.items()}
        )
        self.linear = nn.Linear(len(dims) * width + top_channels, out_dim, bias=False)
        self.norm = nn.BatchNorm1d(out_dim)

    def forward(self, embeddings: Mapping[str, Tensor], top: Tensor) -> Tensor:
        """Fuse embeddings (B, D_i) and the top map (B, C, T, H, W) to (B, D)."""
        parts = [adaptor(embeddings[name]) for name, adaptor in self.adaptors.items()]
        parts.append(top.mean(dim=(2, 3, 4)))
        return F.gelu(self.norm(self.linear(torch.cat(parts, dim=1))))


def _check_levels(levels: Sequence[str], shapes: Mapping[str, LevelShapes]) -> None:
    if not levels:
        raise InputError("the joint teacher needs at least one fused level, got none")
    for owner, known in shapes.items():
        for level in levels:
            if level not in known.levels:
                raise InputError(
                    f"level {level!r} is not one of {owner}'s: {', '.join(known.levels)}"
                )
