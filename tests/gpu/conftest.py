"""The devices that a claim is checked on, and small tasks of every stage."""

from collections.abc import Callable, Iterator

import pytest
import torch

from videokd.distill.objective import DistillObjective, DistillOptions
from videokd.distill.projectors import Projectors
from videokd.distill.tasks import ClassificationTask, StudentTask
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.levels import compute_level_shapes

LEVELS = ("stage2", "stage3")
CLIP = (3, 8, 32, 32)
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_CUDA])])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Each device in turn; float32 on a GPU is float32, not TF32."""
    before = torch.backends.cudnn.allow_tf32
    # By hand: monkeypatch cannot put attributes of this kind back.
    torch.backends.cudnn.allow_tf32 = False
    yield torch.device(request.param)
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def make_joint_teacher(make_classifier) -> Callable[..., JointTeacher]:
    """``make_joint_teacher(experts, **options of VideoClassifier)``: the same weights each time."""

    def make(experts=("r2plus1d_18", "x3d_s", "mvit_v2_s"), **options) -> JointTeacher:
        torch.manual_seed(0)
        models = {name: make_classifier(name, num_frames=CLIP[1], **options) for name in experts}
        shapes = {name: compute_level_shapes(m.backbone, CLIP) for name, m in models.items()}
        return JointTeacher(
            models,
            shapes,
            shapes=compute_level_shapes(make_classifier("r3d_18", num_frames=8).backbone, CLIP),
            levels=LEVELS,
            num_classes={"a": 3, "b": 4},
            width=8,
            dropout=0.0,
        )

    return make


@pytest.fixture
def make_task(make_classifier, make_joint_teacher) -> Callable[..., torch.nn.Module]:
    """``make_task("expert" | "joint" | "student", **options)``: the same weights each time.

    ``experts`` names the experts' architectures, the rest are options of VideoClassifier.
    """

    def make(stage, *, experts=("r2plus1d_18", "x3d_s", "mvit_v2_s"), **options):
        torch.manual_seed(1)
        if stage == "expert":
            model = make_classifier(experts[0], {"a": 3, "b": 4}, num_frames=CLIP[1], **options)
            return ClassificationTask(model, {"a": 1.0, "b": 0.5})
        if stage == "joint":
            teacher = make_joint_teacher(experts, **options)
            return ClassificationTask(teacher, {"a": 1.0, "b": 0.5})
        student = make_classifier("r3d_18", num_frames=CLIP[1], **options)
        shapes = compute_level_shapes(student.backbone, CLIP)
        return StudentTask(
            student,
            make_joint_teacher(experts, **options),
            dataset="a",
            objective=DistillObjective(
                DistillOptions(),
                projectors=Projectors(shapes, shapes, levels=[*LEVELS, "embedding"], kind="always"),
                num_levels=len(LEVELS) + 1,
            ),
        )

    return make
