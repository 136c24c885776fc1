"""Any two families as expert and student in one joint teacher: both stages take a step."""

import copy
from itertools import product

import pytest
import torch

from videokd.config import default_config
from videokd.distill.build import build_objective
from videokd.distill.tasks import ClassificationTask, StudentTask, to_float
from videokd.fusion.build import build_joint_teacher
from videokd.models.levels import LEVEL_NAMES, compute_level_shapes
from videokd.models.zoo import FAMILIES
from videokd.utils.errors import InputError

# Importing pytorchvideo imports fvcore.nn, which scripts a function.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

# (frames, px): a pair gets the first that both take.
CLIPS = ((4, 32), (8, 64), (16, 64))
# timm's named ones are of full size.
SMALL = {"timm_frames": "timm:test_resnet"}
ONE_OF_EACH_FAMILY = [SMALL.get(f.name, next(iter(f.sizes))) for f in FAMILIES.values()]
# Always: each family as expert and as student, with itself, the next and one further on.
ALWAYS = (0, 1, 6)
PAIRS = [
    pytest.param(*pair, marks=() if (b - a) % len(FAMILIES) in ALWAYS else pytest.mark.nightly)
    for (a, b), pair in zip(
        product(range(len(FAMILIES)), repeat=2), product(ONE_OF_EACH_FAMILY, repeat=2), strict=True
    )
]
# V-JEPA 2 is built with it, and classifies without.
UNUSED = "backbone.net.vjepa2.predictor."


@pytest.fixture(scope="module")
def known_experts():
    """(Architecture, clip) -> its expert, which stays as it is, and the shapes of its levels."""
    return {}


@pytest.fixture
def get_expert(make_architecture, make_classifier, known_experts):
    def get(name, clip):
        if (name, clip) not in known_experts:
            size = {"num_frames": clip[0], "crop_size": clip[1]}
            make_architecture(name, **size)  # raises for a clip that it does not take
            try:
                expert = make_classifier(name, **size)
            except InputError as error:  # its library is not installed
                pytest.skip(str(error))
            shapes = compute_level_shapes(expert.backbone, (3, clip[0], clip[1], clip[1]))
            known_experts[name, clip] = expert, shapes
        return known_experts[name, clip]

    return get


@pytest.fixture
def get_pair(get_expert):
    """``get_pair(name, other)``: a clip that both take, and the expert and shapes of each."""

    def get(name, other):
        for clip in CLIPS:
            try:
                return clip, get_expert(name, clip), get_expert(other, clip)
            except InputError as error:
                refusal = error
        raise refusal

    return get


@pytest.mark.parametrize(("name", "student_name"), PAIRS)
def test_an_expert_joins_another_and_both_teach_a_student(get_pair, make_batch, name, student_name):
    clip, (expert, expert_shapes), (other, shapes) = get_pair(name, student_name)
    cfg = default_config()
    cfg.JOINT.LEVELS, cfg.JOINT.WIDTH = list(LEVEL_NAMES), 6
    teacher = build_joint_teacher(
        cfg.JOINT,
        {"a": expert, "b": other},
        {"a": expert_shapes, "b": shapes},
        shapes=shapes,
        num_classes={"a": 3, "b": 3},
        seed=0,
    )
    size = {"num_frames": clip[0], "crop_size": clip[1]}
    _check_joint_step(teacher, make_batch((0, 1, 1, 0), **size))
    student = copy.deepcopy(other).requires_grad_(True).train()
    objective = build_objective(cfg.DISTILL, student=shapes, teacher=shapes, seed=0)
    task = StudentTask(student, teacher, dataset="a", objective=objective)
    _check_student_step(task, make_batch((0,) * 4, **size))


def _check_joint_step(teacher, batch):
    loss = ClassificationTask(teacher, {"a": 1.0, "b": 1.0}).train()(batch).loss
    loss.backward()
    assert loss.isfinite()
    gradients = {key: parameter.grad for key, parameter in teacher.named_parameters()}
    assert all(
        gradient is not None and gradient.isfinite().all() for gradient in gradients.values()
    )
    for level in (f"fusion.layers.{level}" for level in (*LEVEL_NAMES, "embedding")):
        for name in "ab":
            prefix = f"{level}.adaptors.{name}."
            assert any(g.any() for key, g in gradients.items() if key.startswith(prefix)), prefix
    assert all(
        parameter.grad is None
        for e in teacher.experts.values()
        for parameter in e.module.parameters()
    )


def _check_student_step(task, batch):
    output = task(batch)
    output.loss.backward()
    assert output.loss.isfinite()
    assert {f"feat_{level}" for level in (*LEVEL_NAMES, "embedding")} <= output.terms.keys()
    silent = [key for key, p in task.model.named_parameters() if p.grad is None]
    assert [key for key in silent if not key.startswith(UNUSED)] == []
    with torch.no_grad():
        taught, seen = task.model(to_float(batch.clips)), task.teacher(to_float(batch.clips))
    assert {k: v.shape for k, v in taught.levels.items()} == {
        k: v.shape for k, v in seen.levels.items()
    }
    assert taught.embedding.shape == seen.embedding.shape
