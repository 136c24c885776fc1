import copy

import pytest
import torch
from torch import nn

from videokd.distill.projectors import Projectors
from videokd.engine.optim import build_optimizer, is_decayed
from videokd.models.levels import Features, LevelShapes
from videokd.utils.errors import InputError

SHAPES = LevelShapes({"stage1": (4, 2, 6, 6), "stage2": (8, 1, 3, 3)}, 8)
OTHERS = LevelShapes({"stage1": (4, 2, 6, 6), "stage2": (6, 2, 2, 5)}, 7)
LEVELS = ("stage1", "stage2", "embedding")


def _features(shapes, dtype=torch.float32):
    levels = {name: torch.randn(2, *shape).to(dtype) for name, shape in shapes.levels.items()}
    return Features(levels, torch.randn(2, shapes.embedding_dim).to(dtype))


def test_equal_shapes_pass_through_without_parameters():
    projectors = Projectors(SHAPES, SHAPES, levels=LEVELS)
    features = _features(SHAPES)
    projected = projectors(features)
    assert list(projectors.parameters()) == []
    assert projected["embedding"] is features.embedding
    assert all(projected[level] is features.levels[level] for level in LEVELS[:2])


def test_different_shapes_are_projected_to_the_teachers():
    projectors = Projectors(SHAPES, OTHERS, levels=LEVELS)
    projected = projectors(_features(SHAPES))
    assert isinstance(projectors.projections["stage1"], nn.Identity)
    assert projected["stage2"].shape == (2, 6, 2, 2, 5)
    assert projected["embedding"].shape == (2, 7)


def test_always_projects_equal_shapes_too():
    projectors = Projectors(SHAPES, SHAPES, levels=LEVELS, kind="always")
    features = _features(SHAPES)
    projected = projectors(features)
    conv = projectors.projections["stage1"].conv
    by_hand = torch.einsum("oc,bcthw->bothw", conv.weight[:, :, 0, 0, 0], features.levels["stage1"])
    torch.testing.assert_close(projected["stage1"], by_hand + conv.bias.view(-1, 1, 1, 1))
    linear = projectors.projections["embedding"]
    by_hand = features.embedding @ linear.weight.T + linear.bias
    torch.testing.assert_close(projected["embedding"], by_hand)
    assert tuple(projected) == projectors.levels == LEVELS


@pytest.mark.parametrize("levels", [("stage2",), ("stage2", "embedding"), ("embedding",), ()])
def test_only_the_taught_levels_are_projected_and_bf16_comes_out_as_float32(levels):
    projectors = Projectors(SHAPES, OTHERS, levels=levels)
    projected = projectors(_features(SHAPES, torch.bfloat16))
    assert tuple(projected) == levels
    assert all(value.dtype == torch.float32 for value in projected.values())


@pytest.mark.parametrize(("student", "teacher"), [(SHAPES, OTHERS), (OTHERS, SHAPES)])
def test_a_level_that_one_side_lacks_is_refused(student, teacher):
    more = LevelShapes({**student.levels, "stage3": (4, 1, 1, 1)}, student.embedding_dim)
    for pair in [(student, teacher), (more, teacher), (teacher, more)]:
        with pytest.raises(InputError, match=r"level 'stage3' is not in both the student \(stage1"):
            Projectors(*pair, levels=["stage3"])


@pytest.mark.parametrize(("student", "teacher"), [(SHAPES, OTHERS), (OTHERS, SHAPES)])
def test_orthogonal_projectors_stay_orthonormal_while_they_learn(student, teacher):
    projectors = Projectors(student, teacher, levels=LEVELS, kind="orthogonal")
    features = _features(student)
    optimizer = build_optimizer(projectors, name="adamw", base_lr=0.1, weight_decay=0.5)
    before = projectors(features)["stage2"].detach()
    for _ in range(3):
        optimizer.zero_grad()
        sum(value.square().mean() for value in projectors(features).values()).backward()
        optimizer.step()
    assert not torch.allclose(projectors(features)["stage2"], before)
    for level in LEVELS:
        own = projectors.projections[level]
        weight = (own if level == "embedding" else own.conv.linear).weight
        small = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(small, torch.eye(len(small)), atol=1e-5, rtol=0)


def test_orthogonal_projectors_are_stored_copied_and_not_decayed():
    projectors = Projectors(SHAPES, OTHERS, levels=LEVELS, kind="orthogonal")
    other = Projectors(SHAPES, OTHERS, levels=LEVELS, kind="orthogonal")
    other.load_state_dict(projectors.state_dict())
    features = _features(SHAPES)
    expected = projectors(features)
    for same in (other, copy.deepcopy(projectors)):
        found = same(features)
        assert all(torch.equal(found[level], expected[level]) for level in LEVELS)
    assert not any(is_decayed(name, p) for name, p in projectors.named_parameters())


def test_an_unknown_kind_is_an_input_error():
    with pytest.raises(InputError, match="kind must be one of auto, always, orthogonal, got 'no'"):
        Projectors(SHAPES, SHAPES, levels=LEVELS, kind="no")
