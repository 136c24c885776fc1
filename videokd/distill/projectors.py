"""Student-side layers that exist only while a student is taught: P^l of METHOD, stage 3."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from videokd.fusion.adaptors import Grid, resample
from videokd.models.levels import Features, LevelShapes
from videokd.utils.errors import InputError


class Projectors(nn.Module):
    """Bring a student's levels to the shapes of its teacher's.

    Where the shapes agree and no projector is asked for, a level passes through unchanged: the
    paper has no student-side layer. Else it goes through a 1x1x1 convolution (the embedding:
    a linear layer) and, where the grids differ, resampling.

    Args:
        student: Shapes of the student's levels.
        teacher: Shapes of the teacher's levels.
        levels: Names of the levels that are taught; "embedding" may be one.
        always: Project even where the shapes agree.

    Raises:
        InputError: A level that the student or the teacher does not have.
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
        """Leave only ``levels``, of those that there are; their weights stay as they are."""
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
