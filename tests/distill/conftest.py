"""Students under a small joint teacher, and the parts that they are made of."""

from collections.abc import Callable, Mapping, Sequence

import pytest
from torch import nn

from videokd.distill.objective import DistillObjective, DistillOptions
from videokd.distill.projectors import Projectors
from videokd.distill.tasks import StudentTask
from videokd.fusion.joint_teacher import JointTeacher
from videokd.fusion.options import FusionOptions
from videokd.models.levels import LevelShapes, compute_level_shapes

MAPS = ("stage1", "stage2", "stage3", "stage4")
EXPERTS = {"a": "mc3_18", "b": "r3d_18"}


@pytest.fixture
def shapes_of(make_classifier) -> Callable[[str], LevelShapes]:
    """``shapes_of(arch)``: the shapes of the levels of a small network."""
    return lambda arch: compute_level_shapes(make_classifier(arch).backbone, (3, 4, 32, 32))


@pytest.fixture
def make_teacher(make_classifier, shapes_of) -> Callable[..., JointTeacher]:
    """``make_teacher(**FusionOptions)``: T* over two experts, in the shapes of an r3d."""

    def make(**options: object) -> JointTeacher:
        return JointTeacher(
            {name: make_classifier(arch) for name, arch in EXPERTS.items()},
            {name: shapes_of(arch) for name, arch in EXPERTS.items()},
            shapes=shapes_of("r3d_18"),
            levels=MAPS,
            num_classes={"a": 3, "b": 4},
            width=6,
            dropout=0.9,
            options=FusionOptions(**options),
        )

    return make


@pytest.fixture
def make_objective(shapes_of) -> Callable[..., DistillObjective]:
    """``make_objective(student, levels=..., always=False, standardisers=None, **options)``."""

    def make(
        student: str = "r3d_18",
        *,
        levels: Sequence[str] = (*MAPS, "embedding"),
        always: bool = False,
        standardisers: Mapping[str, nn.Module] | None = None,
        **options: object,
    ) -> DistillObjective:
        projectors = Projectors(
            shapes_of(student),
            shapes_of("r3d_18"),
            levels=levels,
            kind="always" if always else "auto",
        )
        return DistillObjective(
            DistillOptions(**options),
            projectors=projectors,
            num_levels=len(MAPS) + 1,
            standardisers=standardisers,
        )

    return make


@pytest.fixture
def make_student_task(make_classifier, make_teacher, make_objective) -> Callable[..., StudentTask]:
    """``make_student_task(student, teacher=None, objective=None, **options of StudentTask)``."""

    def make(
        student: str = "r3d_18",
        *,
        teacher: nn.Module | None = None,
        objective: DistillObjective | None = None,
        **options: object,
    ) -> StudentTask:
        return StudentTask(
            make_classifier(student),
            teacher or make_teacher(),
            dataset="a",
            objective=objective or make_objective(student),
            **options,
        )

    return make
