import math

import numpy as np
import pytest
import torch
from torch import nn

from videokd.fusion.joint_teacher import FusedEmbedding, FusedLevel, JointTeacher
from videokd.models.levels import LevelShapes, compute_level_shapes
from videokd.utils.errors import InputError

NUM_CLASSES = {"a": 3, "b": 4}


@pytest.fixture
def make_joint(make_classifier):
    """``make_joint(order=..., levels=..., clip=...)``: T* of an r3d and an x3d for an r2plus1d."""
    experts = {"a": make_classifier("r3d_18"), "b": make_classifier("x3d_s")}

    def make(order=("a", "b"), *, levels=("stage2", "stage3"), clip=(4, 32), dropout=0.0):
        clip_shape = (3, clip[0], clip[1], clip[1])
        student = make_classifier("r2plus1d_18").backbone
        return JointTeacher(
            {name: experts[name] for name in order},
            {name: compute_level_shapes(experts[name].backbone, clip_shape) for name in order},
            shapes=compute_level_shapes(student, clip_shape),
            levels=levels,
            num_classes=NUM_CLASSES,
            width=6,
            dropout=dropout,
        )

    return make


def _randomise(module):
    """Give norms and weights values that a wrong formula cannot hide behind."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.is_floating_point():
            low = 0.5 if "var" in name else -1.0
            value.data.uniform_(low, 1.5)
    return module.eval()


@pytest.mark.parametrize("clip", [(4, 32), (5, 33), (3, 45)])
@pytest.mark.parametrize("levels", [["stage3"], ["stage1", "stage2", "stage3", "stage4"]])
def test_shapes_are_the_students_own_for_even_and_odd_clips(
    make_joint, make_classifier, clip, levels
):
    student = make_classifier("r2plus1d_18")
    clips = torch.rand(2, 3, clip[0], clip[1], clip[1])
    features, expected = make_joint(levels=levels, clip=clip)(clips), student(clips)
    assert list(features.levels) == levels
    for level in levels:
        assert features.levels[level].shape == expected.levels[level].shape
    assert features.embedding.shape == expected.embedding.shape


def test_each_dataset_gets_logits_of_its_own_classes(make_joint):
    joint = make_joint()
    embedding = joint(torch.rand(2, 3, 4, 32, 32)).embedding
    for name, num_classes in NUM_CLASSES.items():
        assert joint.classify(embedding, name).shape == (2, num_classes)


def test_gradients_reach_every_own_parameter_and_no_expert(make_joint):
    joint = make_joint()
    features = joint.train()(torch.rand(4, 3, 4, 32, 32))
    logits = [joint.classify(features.embedding, name) for name in NUM_CLASSES]
    sum((x * torch.randn_like(x)).sum() for x in logits).backward()
    silent = [name for name, p in joint.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    for expert in joint.experts.values():
        assert all(p.grad is None and not p.requires_grad for p in expert.module.parameters())


def test_experts_are_in_eval_mode_and_in_no_state_after_train(make_joint):
    joint = make_joint().train()
    for expert in joint.experts.values():
        assert not any(module.training for module in expert.module.modules())
    assert not any(name.startswith("experts") for name in joint.state_dict())
    own = sum(p.numel() for m in (joint.fusions, joint.embed, joint.heads) for p in m.parameters())
    assert sum(p.numel() for p in joint.parameters()) == own


def test_permuted_experts_permute_the_adaptors_slices_and_nothing_else(make_joint):
    forward, backward = make_joint(("a", "b")), make_joint(("b", "a"))
    _randomise(forward)
    backward.load_state_dict(
        {name: _swap_experts(name, value) for name, value in forward.state_dict().items()}
    )
    clips = torch.rand(2, 3, 4, 32, 32)
    expected, features = forward.eval()(clips), backward.eval()(clips)
    for level, value in expected.levels.items():
        torch.testing.assert_close(features.levels[level], value, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.embedding, expected.embedding, rtol=1e-4, atol=1e-4)


def _swap_experts(name, value, width=6):
    """Swap the slices of the two experts where a weight sees their concatenation."""
    if ".mix_norm." in name and value.ndim == 1:
        first, second, rest = value[:width], value[width : 2 * width], value[2 * width :]
        return torch.cat([second, first, rest])
    if name.endswith(".mix.weight") or name == "embed.linear.weight":
        first, second, rest = value[:, :width], value[:, width : 2 * width], value[:, 2 * width :]
        return torch.cat([second, first, rest], dim=1)
    return value


def test_a_level_that_an_expert_or_the_student_lacks_is_refused_with_its_owner():
    shapes = {"stage1": (2, 1, 1, 1), "stage2": (2, 1, 1, 1)}
    both, one = LevelShapes(shapes, 2), LevelShapes({"stage1": (2, 1, 1, 1)}, 2)
    options = {"levels": ["stage1", "stage2"], "num_classes": {}, "width": 1, "dropout": 0.0}
    with pytest.raises(InputError, match="level 'stage2' is not one of b's: stage1"):
        JointTeacher({}, {"a": both, "b": one}, shapes=both, **options)
    with pytest.raises(InputError, match="level 'stage2' is not one of the student's: stage1"):
        JointTeacher({}, {"a": both}, shapes=one, **options)
    with pytest.raises(InputError, match="at least one fused level, got none"):
        JointTeacher({}, {"a": both}, shapes=both, **{**options, "levels": []})


# The formula of JointTeacher's docstring, cell by cell in float64. The experts' maps lie on the
# level's own grid: resampling is tested by itself.


def _numpy(value):
    return value.detach().double().numpy()


def _norm(module, x):
    """Batch norm in evaluation of a vector of channels."""
    scale = _numpy(module.weight) / np.sqrt(_numpy(module.running_var) + module.eps)
    return (x - _numpy(module.running_mean)) * scale + _numpy(module.bias)


def _gelu(x):
    return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])


def _strided_cell(conv, x, cell):
    """One cell of a 3x3x3 convolution with padding 1 of x (C, T, H, W)."""
    weight, total = _numpy(conv.weight), _numpy(conv.bias).copy()
    for offset in np.ndindex(3, 3, 3):
        place = [c * s + o - 1 for c, s, o in zip(cell, conv.stride, offset, strict=True)]
        if all(0 <= p < size for p, size in zip(place, x.shape[1:], strict=True)):
            total += weight[(slice(None), slice(None), *offset)] @ x[(slice(None), *place)]
    return total


def test_a_fused_level_is_the_documented_formula():
    grid = (2, 2, 3)
    channels = {"a": 3, "b": 5}
    level = _randomise(FusedLevel(channels, (4, *grid), below=(2, 4, 4, 6), width=6))
    maps = {name: torch.randn(1, c, *grid) for name, c in channels.items()}
    below = torch.randn(1, 2, 4, 4, 6)
    assert level.down.stride == (2, 2, 2)
    with torch.no_grad():
        fused = level(maps, below)[0]
    for cell in np.ndindex(*grid):
        parts = []
        for name, adaptor in level.adaptors.items():
            x = _norm(adaptor.norm, _numpy(maps[name])[(0, slice(None), *cell)])
            parts.append(_numpy(adaptor.conv.weight)[:, :, 0, 0, 0] @ x + _numpy(adaptor.conv.bias))
        parts.append(_strided_cell(level.down, _numpy(below)[0], cell))
        mixed = _gelu(_norm(level.mix_norm, np.concatenate(parts)))
        expected = _gelu(_norm(level.norm, _numpy(level.mix.weight)[:, :, 0, 0, 0] @ mixed))
        np.testing.assert_allclose(
            _numpy(fused[(slice(None), *cell)]), expected, rtol=1e-4, atol=1e-5
        )


def test_the_fused_embedding_is_the_documented_formula():
    dims = {"a": 3, "b": 5}
    embed = _randomise(FusedEmbedding(dims, 4, 7, width=6))
    embeddings = {name: torch.randn(2, dim) for name, dim in dims.items()}
    top = torch.randn(2, 4, 1, 2, 3)
    with torch.no_grad():
        fused = embed(embeddings, top)
    for i in range(2):
        parts = [
            _numpy(adaptor.linear.weight) @ _norm(adaptor.norm, _numpy(embeddings[name][i]))
            + _numpy(adaptor.linear.bias)
            for name, adaptor in embed.adaptors.items()
        ]
        parts.append([_numpy(top[i, c]).mean() for c in range(4)])
        expected = _gelu(_norm(embed.norm, _numpy(embed.linear.weight) @ np.concatenate(parts)))
        np.testing.assert_allclose(_numpy(fused[i]), expected, rtol=1e-4, atol=1e-5)


def test_the_lowest_level_has_no_map_below():
    level = FusedLevel({"a": 3}, (4, 1, 2, 2), below=None, width=6)
    assert level.down is None
    assert level({"a": torch.randn(2, 3, 1, 2, 2)}, None).shape == (2, 4, 1, 2, 2)
    assert isinstance(level.mix, nn.Conv3d)
    assert level.mix.in_channels == 6


def test_dropout_is_before_the_classifiers_in_training_only(make_joint):
    joint = make_joint(dropout=0.9)
    embedding = torch.ones(2, joint.heads["a"].in_features)
    joint.train()
    assert not torch.equal(joint.classify(embedding, "a"), joint.classify(embedding, "a"))
    joint.eval()
    assert torch.equal(joint.classify(embedding, "a"), joint.heads["a"](embedding))
