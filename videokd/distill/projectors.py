"""Projectors of the student's levels, used only during distillation: P^l of METHOD, stage 3."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from videokd.fusion.adaptors import Grid, resample
from videokd.models.levels import Features, LevelShapes
from videokd.utils.errors import InputError


class Projectors(nn.Module):
    """Projection of a student's levels to the shapes of its teacher's levels.

    A level whose shapes agree passes unchanged unless ``always`` is set: the paper has no
    student-side layer. Other levels pass a 1x1x1 convolution (the embedding: a linear layer), and
    are resampled if the grids differ.

    Args:
        student: Shapes of the student's levels.
        teacher: Shapes of the teacher's levels.
        levels: Names of the levels to project; "embedding" may be one.
        always: Project even where the shapes agree.

    Raises:
        InputError: The student or the teacher lacks one of the levels.
    """

    def __init__(
        self,
        student: LevelShapes,
        teacher: LevelShapes,
        *,
        levels: Sequence[str],
        always: bool = False,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.projections = nn.ModuleDict()
        for level in levels:
            if level == "embedding":
                dims = (student.embedding_dim, teacher.embedding_dim)
                is_needed = always or dims[0] != dims[1]
                self.projections[level] = nn.Linear(*dims) if is_needed else nn.Identity()
                continue
            if level not in student.levels or level not in teacher.levels:
                raise InputError(
                    f"level {level!r} is not in both the student ({', '.join(student.levels)}) "
                    f"and the teacher ({', '.join(teacher.levels)})"
                )
            self.projections[level] = _map_projector(
                student.levels[level], teacher.levels[level], always
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
    def __init__(self, in_channels: int, out_channels: int, grid: Grid) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 1)
        self.grid = grid

    def forward(self, feature: Tensor) -> Tensor:
        return resample(self.conv(feature), self.grid)


def _map_projector(
    student: tuple[int, int, int, int], teacher: tuple[int, int, int, int], always: bool
) -> nn.Module:
    if student == teacher and not always:
        return nn.Identity()
    return _ProjectAndResample(student[0], teacher[0], teacher[1:])
