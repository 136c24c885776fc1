"""What holds for every loss of a student against a teacher."""

import pytest
import torch

from videokd.distill.losses import (
    FEATURE_LOSSES,
    decoupled_kd,
    dist_loss,
    soft_cross_entropy,
    standardise_logits,
)

MAP, EMBEDDING, LOGITS = (3, 2, 3, 2), (6,), (7,)


def _decoupled(student, teacher):
    return decoupled_kd(student, teacher, teacher.argmax(dim=1), temperature=2.0)


def _standardised(student, teacher):
    student, teacher = standardise_logits(student), standardise_logits(teacher)
    return soft_cross_entropy(student, teacher, temperature=2.0)


CASES = {
    "soft_cross_entropy": (lambda s, t: soft_cross_entropy(s, t, temperature=2.0), LOGITS),
    "standardised": (_standardised, LOGITS),
    "dkd": (_decoupled, LOGITS),
    "dist": (lambda s, t: dist_loss(s, t, temperature=2.0), LOGITS),
    **{f"{name}-map": (entry.function, MAP) for name, entry in FEATURE_LOSSES.items()},
    **{f"{name}-embedding": (entry.function, EMBEDDING) for name, entry in FEATURE_LOSSES.items()},
}
every_loss = pytest.mark.parametrize(("loss", "shape"), CASES.values(), ids=CASES)


def _pair(shape, *, num_clips=5):
    student, teacher = 2 * torch.randn(2, num_clips, *shape)
    return student.requires_grad_(), teacher


def _gradient(loss, student, teacher):
    return torch.autograd.grad(loss(student, teacher), student)[0]


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_the_float32_loss_of_the_rounded_inputs(loss, shape, dtype):
    student, teacher = (x.detach().to(dtype) for x in _pair(shape))
    value = loss(student, teacher)
    assert value.dtype == torch.float32
    assert value.shape == ()
    assert torch.equal(value, loss(student.float(), teacher.float()))


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autocast_changes_neither_the_loss_nor_its_gradient(loss, shape, dtype):
    student, teacher = (x.detach().to(dtype) for x in _pair(shape))
    student.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(student, teacher)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(student, teacher))
    gradient = torch.autograd.grad(value, student)[0]
    assert torch.equal(gradient, _gradient(loss, student, teacher))


@every_loss
def test_the_gradient_goes_to_the_student_only(loss, shape):
    student, teacher = _pair(shape)
    teacher.requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.any()


@every_loss
def test_a_student_equal_to_its_teacher_has_no_gradient_to_follow(loss, shape):
    _, teacher = _pair(shape)
    student = teacher.clone().requires_grad_()
    assert _gradient(loss, student, teacher).abs().max() < 1e-6


@every_loss
def test_the_order_of_the_batch_does_not_matter(loss, shape):
    student, teacher = _pair(shape)
    order = torch.randperm(5)
    torch.testing.assert_close(loss(student[order], teacher[order]), loss(student, teacher))


@every_loss
@pytest.mark.parametrize("num_clips", [1, 2])
def test_the_smallest_batches_have_a_finite_loss_and_gradient(loss, shape, num_clips):
    student, teacher = _pair(shape, num_clips=num_clips)
    assert loss(student, teacher).isfinite()
    assert _gradient(loss, student, teacher).isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_huge_inputs_have_a_finite_loss_and_gradient(loss, shape, dtype):
    student = 1e4 * torch.randn(5, *shape).sign().to(dtype)
    teacher = 1e4 * torch.randn(5, *shape).sign().to(dtype)
    student.requires_grad_()
    assert loss(student, teacher).isfinite()
    assert _gradient(loss, student, teacher).isfinite().all()


@every_loss
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_constant_student_has_a_finite_loss_and_a_bounded_gradient(loss, shape, value):
    student = torch.full((5, *shape), value, requires_grad=True)
    _, teacher = _pair(shape)
    assert loss(student, teacher).isfinite()
    assert _gradient(loss, student, teacher).abs().max() < 1e4


@every_loss
def test_a_constant_teacher_gives_a_finite_gradient(loss, shape):
    student, teacher = _pair(shape)
    assert _gradient(loss, student, torch.zeros_like(teacher)).isfinite().all()


@every_loss
def test_a_batch_of_another_size_is_refused_with_both_shapes(loss, shape):
    student, teacher = _pair(shape)
    with pytest.raises(ValueError, match=r"student and teacher must .*got \(5, .*\) and \(1, "):
        loss(student, teacher[:1])
