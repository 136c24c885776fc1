import math

import numpy as np
import pytest
import torch

from videokd.distill.losses import attention_transfer, feature_mse, smooth_l1_cosine

SHAPES = [(2, 5), (2, 3, 2, 3, 2)]
all_shapes = pytest.mark.parametrize("shape", SHAPES, ids=["embedding", "map"])


def _pair(shape):
    student, teacher = 2 * torch.randn(2, *shape)
    return student.requires_grad_(), teacher


@all_shapes
def test_feature_mse_is_the_mean_over_all_elements(shape):
    student, teacher = _pair(shape)
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
    squares = [(s - t) ** 2 for s, t in pairs]
    assert feature_mse(student, teacher).item() == pytest.approx(sum(squares) / len(squares))
    assert feature_mse(teacher, teacher).item() == 0.0


def test_feature_mse_has_the_gradient_worked_out_by_hand():
    student, teacher = _pair((3, 4))
    feature_mse(student, teacher).backward()
    torch.testing.assert_close(student.grad, 2 * (student.detach() - teacher) / 12)


def _slow_smooth_l1_cosine(student, teacher, *, weight, beta):
    places = list(np.ndindex(len(student), *student.shape[2:]))
    cosines, terms = [], []
    for b, *rest in places:
        u, v = student[(b, slice(None), *rest)], teacher.double()[(b, slice(None), *rest)]
        cosines.append(sum(u * v) / (sum(u * u) * sum(v * v)).sqrt())
        for d in (u - v).abs():
            terms.append(d * d / (2 * beta) if d < beta else d - beta / 2)
    return weight * (1 - sum(cosines) / len(cosines)) + (1 - weight) * sum(terms) / len(terms)


@all_shapes
@pytest.mark.parametrize(("weight", "beta"), [(0.0, 0.5), (1.0, 1.0), (0.9, 2.0)])
def test_smooth_l1_cosine_equals_a_float64_loop_in_value_and_gradient(
    assert_same_with_gradient, shape, weight, beta
):
    student, teacher = _pair(shape)
    options = {"weight": weight, "beta": beta}
    loss = smooth_l1_cosine(student, teacher, **options)
    assert_same_with_gradient(
        loss, lambda s: _slow_smooth_l1_cosine(s, teacher, **options), student
    )


@all_shapes
def test_smooth_l1_cosine_is_zero_at_identity_and_its_cosine_ignores_the_scale(shape):
    _, teacher = _pair(shape)
    assert smooth_l1_cosine(teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)
    scaled = smooth_l1_cosine(7 * teacher, teacher, weight=1.0)
    assert scaled.item() == pytest.approx(0.0, abs=1e-6)
    opposite = smooth_l1_cosine(-teacher, teacher, weight=1.0)
    assert opposite.item() == pytest.approx(2.0)


def test_smooth_l1_cosine_refuses_options_out_of_range():
    embedding = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\], got 1.5"):
        smooth_l1_cosine(embedding, embedding, weight=1.5)
    with pytest.raises(ValueError, match=r"beta must be >= 0, got -1.0"):
        smooth_l1_cosine(embedding, embedding, beta=-1.0)


@pytest.mark.parametrize("loss", [feature_mse, smooth_l1_cosine])
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(ValueError, match=r"must have one shape, got \(2, 3\) and \(2, 1\)"):
        loss(torch.zeros(2, 3), torch.zeros(2, 1))


def _slow_attention(clip):
    """Attention over the places of a map (C, T, H, W), or the entries of an embedding (D,)."""
    places = np.ndindex(*clip.shape[1:]) if clip.ndim > 1 else [()]
    energies = [(clip[(slice(None), *place)] ** 2) for place in places]
    values = [sum(e) for e in energies] if clip.ndim > 1 else list(energies[0])
    length = sum(v * v for v in values).sqrt()
    return [v / length for v in values]


def _slow_attention_transfer(student, teacher):
    total = 0.0
    for mine, theirs in zip(student, teacher.double(), strict=True):
        pairs = zip(_slow_attention(mine), _slow_attention(theirs), strict=True)
        total = total + sum((s - t) ** 2 for s, t in pairs)
    return total / len(student)


@all_shapes
def test_attention_transfer_equals_a_float64_loop_in_value_and_gradient(
    assert_same_with_gradient, shape
):
    student, teacher = _pair(shape)
    loss = attention_transfer(student, teacher)
    assert_same_with_gradient(loss, lambda s: _slow_attention_transfer(s, teacher), student)


@all_shapes
def test_attention_transfer_is_zero_at_identity_and_ignores_scale_and_sign(shape):
    _, teacher = _pair(shape)
    assert attention_transfer(teacher, teacher).item() == 0.0
    scale = torch.tensor([-3.0, 0.1]).view(2, *[1] * (len(shape) - 1))
    assert attention_transfer(scale * teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)


def test_attention_transfer_of_maps_takes_another_number_and_order_of_channels():
    student, teacher = torch.randn(2, 4, 2, 3, 2), torch.randn(2, 6, 2, 3, 2)
    loss = attention_transfer(student, teacher)
    shuffled = attention_transfer(student[:, torch.randperm(4)], teacher[:, torch.randperm(6)])
    torch.testing.assert_close(shuffled, loss)


def test_attention_to_different_places_costs_2_and_to_half_of_them_what_is_worked_out_by_hand():
    left = torch.tensor([[1.0, 0.0]]).view(1, 1, 1, 1, 2)
    right, both = left.flip(-1), torch.ones(1, 1, 1, 1, 2)
    assert attention_transfer(left, right).item() == pytest.approx(2.0)
    assert attention_transfer(left, both).item() == pytest.approx(2 - 2 / math.sqrt(2))


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [((2, 3, 2, 2, 2), (2, 3, 1, 2, 2)), ((2, 3), (2, 4)), ((2, 3), (2, 3, 2, 2, 2))],
)
def test_attention_transfer_refuses_grids_that_differ(mine, theirs):
    with pytest.raises(ValueError, match=r"one grid .*, got \(2, 3.*\) and \(2, "):
        attention_transfer(torch.zeros(mine), torch.zeros(theirs))
