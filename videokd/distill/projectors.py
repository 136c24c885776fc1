"""Projectors of the student's levels, used only during distillation: P^l of METHOD, stage 3."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from videokd.fusion.adaptors import Grid, resample
from videokd.models.levels import Features, LevelShapes
from videokd.utils.errors import InputError

PROJECTORS = ("auto", "always", "orthogonal")


class Projectors(nn.Module):
    """Projection of a student's levels to the shapes of its teacher's levels.

    With the kind "auto" a level whose shapes agree passes unchanged: the paper has no student-side
    layer. Other levels pass a 1x1x1 convolution (the embedding: a linear layer), and are resampled
    if the grids differ. With "orthogonal" the weights have orthonormal rows or columns and there is
    no bias, so that the projection keeps angles or drops directions, and cannot align features by
    itself (Miles et al. 2024, "VkD: Improving Knowledge Distillation using Orthogonal
    Projections").

    Args:
        student: Shapes of the student's levels.
        teacher: Shapes of the teacher's levels.
        levels: Names of the levels to project; "embedding" may be one.
        kind: One of ``PROJECTORS``; all but "auto" project even where the shapes agree.

    Raises:
        InputError: The kind is unknown, or the student or the teacher lacks one of the levels.
    """

    def __init__(
        self,
        student: LevelShapes,
        teacher: LevelShapes,
        *,
        levels: Sequence[str],
        kind: str = "auto",
    ) -> None:
        super().__init__()
        if kind not in PROJECTORS:
            raise InputError(f"kind must be one of {', '.join(PROJECTORS)}, got {kind!r}")
        self.levels = tuple(levels)
        self.projections = nn.ModuleDict()
        for level in levels:
            if level == "embedding":
                dims = (student.embedding_dim, teacher.embedding_dim)
                is_needed = kind != "auto" or dims[0] != dims[1]
                self.projections[level] = _make_linear(*dims, kind) if is_needed else nn.Identity()
                continue
            if level not in student.levels or level not in teacher.levels:
                raise InputError(
                    f"level {level!r} is not in both the student ({', '.join(student.levels)}) "
                    f"and the teacher ({', '.join(teacher.levels)})"
                )
            self.projections[level] = _map_projector(
                student.levels[level], teacher.levels[level], kind
            )

    def keep(self, levels: Sequence[str]) -> None:
        """Drop the projectors of all levels but ``levels``; the remaining weights do not change."""
        self.levels = tuple(levels)
        self.projections = nn.ModuleDict({level: self.projections[level] for level in levels})

    def forward(self, features: Features) -> Mapping[str, Tensor]:
        """Return level name -> projected map or embedding, float32."""
        return {
            level: projection(
                (features.embedding if level == "embedding" else features.levels[level]).float()
            )
            for level, projection in self.projections.items()
        }


class _ProjectAndResample(nn.Module):
    def __init__(self, conv: nn.Module, grid: Grid) -> None:
        super().__init__()
        self.conv = conv
        self.grid = grid

    def forward(self, feature: Tensor) -> Tensor:
        return resample(self.conv(feature), self.grid)


class _OrthogonalConv(nn.Module):
    """1x1x1 convolution with orthonormal rows or columns."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = _orthogonal_linear(in_channels, out_channels)

    def forward(self, feature: Tensor) -> Tensor:
        projected: Tensor = self.linear(feature.movedim(1, -1))
        return projected.movedim(-1, 1)


def _orthogonal_linear(in_size: int, out_size: int) -> nn.Module:
    # The Cayley map is the quickest of the three.
    return orthogonal(nn.Linear(in_size, out_size, bias=False), orthogonal_map="cayley")


def _make_linear(in_size: int, out_size: int, kind: str) -> nn.Module:
    if kind == "orthogonal":
        return _orthogonal_linear(in_size, out_size)
    return nn.Linear(in_size, out_size)


def _map_projector(
    student: tuple[int, int, int, int], teacher: tuple[int, int, int, int], kind: str
) -> nn.Module:
    if student == teacher and kind == "auto":
        return nn.Identity()
    sizes = student[0], teacher[0]
    conv = _OrthogonalConv(*sizes) if kind == "orthogonal" else nn.Conv3d(*sizes, 1)
    return _ProjectAndResample(conv, teacher[1:])
