"""Interface of a fusion operator: from the experts' features to the joint teacher's."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from videokd.models.levels import LevelShapes

EMBEDDING = "embedding"

Shape = tuple[int, ...]
"""(C, T, H, W) of a map, (D,) of an embedding, () of nothing."""


class FusionLayer(nn.Module, ABC):
    """Layer of an operator that computes one fused map or embedding.

    Args:
        in_shape: Shape of the input of the layers after the adaptors.
        adaptors: Expert name -> adaptor of its features; none if the layer reads no expert.
    """

    def __init__(self, in_shape: Shape, adaptors: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__()
        self.in_shape = in_shape
        self.adaptors = nn.ModuleDict(adaptors or {})

    @abstractmethod
    def forward(
        self,
        maps: Mapping[str, Tensor],
        below: Tensor | None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Compute the fused map (B, C, T, H, W), or embedding (B, D), of a level.

        Args:
            maps: Expert name -> its map (B, C_i, t, h, w), or embedding (B, D_i), at the level;
                empty at levels where the operator reads no expert.
            below: Fused map (B, C', t, h, w) of the level below; None at the lowest level.
            weights: Expert name -> (B,) factors of its adapted features, see ``adapt``; None for 1.
        """


class FusionOperator(nn.Module, ABC):
    """Fusion of the experts' features, level by level from low to high.

    A new operator is one file with a subclass, and one entry in ``options.OPERATORS``.

    Args:
        experts: Expert name -> shapes of its levels.
        shapes: Shapes of the result.
        levels: Names of the fused levels, low to high; the embedding follows them.
        width: Channels of every adaptor.
        standardise: One of ``options.STANDARDISERS``.
        mix: One of ``mixes.MIXES``.
    """

    def __init__(
        self,
        experts: Mapping[str, LevelShapes],
        shapes: LevelShapes,
        *,
        levels: Sequence[str],
        width: int,
        standardise: str = "batch_norm",
        mix: str = "conv1",
    ) -> None:
        super().__init__()
        self.experts, self.shapes = dict(experts), shapes
        self.width, self.standardise, self.mix = width, standardise, mix
        self.layers = nn.ModuleDict()
        below: Shape = ()
        for level in (*levels, EMBEDDING):
            self.layers[level] = self.build_layer(level, below)
            below = self.shape_of(level)

    @staticmethod
    def tapped(levels: Sequence[str]) -> tuple[str, ...]:
        """Return the levels at which the operator reads the experts, low to high."""
        return (*levels, EMBEDDING)

    @abstractmethod
    def build_layer(self, level: str, below: Shape) -> FusionLayer:
        """Build the layer of a level, or of "embedding"; ``below`` is () at the lowest level."""

    def fuse(
        self,
        level: str,
        maps: Mapping[str, Tensor],
        below: Tensor | None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Compute the fused features of a level, see ``FusionLayer.forward``."""
        fused: Tensor = self.layers[level](maps, below, weights)
        return fused

    def shape_of(self, level: str) -> Shape:
        """Return the shape of the result at a level, or of the embedding."""
        return self.shapes.levels[level] if level != EMBEDDING else (self.shapes.embedding_dim,)

    def expert_sizes(self, level: str) -> dict[str, int]:
        """Return expert name -> C of its map at a level, or D of its embedding."""
        if level == EMBEDDING:
            return {name: s.embedding_dim for name, s in self.experts.items()}
        return {name: s.levels[level][0] for name, s in self.experts.items()}
