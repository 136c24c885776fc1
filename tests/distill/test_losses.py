import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from videokd.distill.losses import entropy, feature_mse, soft_cross_entropy

TEMPERATURES = [0.5, 1.0, 2.0, 4.0]


def _softmax(row, temperature):
    exps = [math.exp(value / temperature) for value in row]
    return [value / sum(exps) for value in exps]


def _slow_soft_cross_entropy(student, teacher, temperature):
    total = 0.0
    for student_row, teacher_row in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = _softmax(student_row, temperature), _softmax(teacher_row, temperature)
        for q_k, p_k in zip(q, p, strict=True):
            total -= p_k * math.log(q_k)
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_soft_cross_entropy_equals_a_float64_double_loop(temperature):
    student, teacher = 3 * torch.randn(2, 5, 7)
    loss = soft_cross_entropy(student, teacher, temperature=temperature)
    expected = _slow_soft_cross_entropy(student, teacher, temperature)
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_soft_cross_entropy_of_equal_logits_is_the_scaled_entropy(temperature):
    logits = 3 * torch.randn(5, 7)
    loss = soft_cross_entropy(logits, logits, temperature=temperature)
    torch.testing.assert_close(loss, temperature**2 * entropy(logits / temperature))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_soft_cross_entropy_has_the_gradient_of_the_scaled_kl_divergence(temperature):
    student = torch.randn(5, 7, requires_grad=True)
    teacher = torch.randn(5, 7)
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher / temperature, dim=1)
    kl = temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    expected = torch.autograd.grad(kl, student)[0]
    loss = soft_cross_entropy(student, teacher, temperature=temperature)
    torch.testing.assert_close(torch.autograd.grad(loss, student)[0], expected)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_soft_cross_entropy_has_the_gradient_of_finite_differences(temperature):
    student = torch.randn(2, 3, requires_grad=True)
    teacher = torch.randn(2, 3)
    soft_cross_entropy(student, teacher, temperature=temperature).backward()
    base, step = student.detach().double(), 1e-5
    for place in np.ndindex(2, 3):
        up, down = base.clone(), base.clone()
        up[place] += step
        down[place] -= step
        difference = _slow_soft_cross_entropy(up, teacher, temperature) - _slow_soft_cross_entropy(
            down, teacher, temperature
        )
        assert student.grad[place].item() == pytest.approx(difference / (2 * step), abs=1e-5)


def test_soft_cross_entropy_ignores_shifts_of_logits_and_the_order_of_the_batch():
    student, teacher = torch.randn(2, 5, 7)
    loss = soft_cross_entropy(student, teacher, temperature=2.0)
    shifted = soft_cross_entropy(student + torch.randn(5, 1), teacher - 3.0, temperature=2.0)
    order = torch.randperm(5)
    permuted = soft_cross_entropy(student[order], teacher[order], temperature=2.0)
    torch.testing.assert_close(shifted, loss)
    torch.testing.assert_close(permuted, loss)


def test_the_squared_temperature_keeps_the_scale_of_the_gradient():
    # For small logits the gradient tends to (student - teacher) / (B * K) at any temperature.
    student, teacher = 1e-3 * torch.randn(2, 4, 6)
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    for temperature in (1.0, 4.0, 16.0):
        leaf = student.clone().requires_grad_()
        soft_cross_entropy(leaf, teacher, temperature=temperature).backward()
        torch.testing.assert_close(leaf.grad, centred / 24, rtol=1e-2, atol=1e-7)


def test_soft_cross_entropy_of_huge_logits_is_finite_with_a_finite_gradient():
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0]])
    loss = soft_cross_entropy(student, teacher, temperature=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(2.0**2 * 2e4 / 2.0)  # -log q of the teacher's only class
    assert student.grad.isfinite().all()
    assert entropy(teacher).item() == pytest.approx(0.0)


def test_losses_of_bf16_are_computed_in_float32():
    student, teacher = torch.randn(2, 4, 6).bfloat16()
    losses = {
        "kd": lambda a, b: soft_cross_entropy(a, b, temperature=2.0),
        "feat": feature_mse,
        "entropy": lambda a, b: entropy(a),
    }
    for name, loss in losses.items():
        assert torch.equal(loss(student, teacher), loss(student.float(), teacher.float())), name


def test_no_gradient_goes_to_the_teacher():
    student = torch.randn(2, 3, requires_grad=True)
    teacher = torch.randn(2, 3, requires_grad=True)
    loss = soft_cross_entropy(student, teacher, temperature=2.0) + feature_mse(student, teacher)
    loss.backward()
    assert teacher.grad is None
    assert student.grad.any()


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature must be > 0, got {temperature}"):
        soft_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), temperature=temperature)


def test_shapes_that_would_broadcast_are_refused():
    message = r"must have one shape, got \(2, 3\) and \(2, 1\)"
    with pytest.raises(ValueError, match=message):
        soft_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 1), temperature=1.0)
    with pytest.raises(ValueError, match=message):
        feature_mse(torch.zeros(2, 3), torch.zeros(2, 1))


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 2, 2, 2)])
def test_feature_mse_is_the_mean_over_all_elements_and_zero_at_identity(shape):
    student, teacher = torch.randn(2, *shape)
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
    squares = [(s - t) ** 2 for s, t in pairs]
    assert feature_mse(student, teacher).item() == pytest.approx(sum(squares) / len(squares))
    assert feature_mse(student, student).item() == 0.0


def test_feature_mse_has_the_gradient_worked_out_by_hand():
    student, teacher = torch.randn(2, 3, 4)
    student.requires_grad_()
    feature_mse(student, teacher).backward()
    torch.testing.assert_close(student.grad, 2 * (student.detach() - teacher) / 12)


def test_entropy_is_log_k_for_equal_logits_and_a_mean_over_the_batch():
    assert entropy(torch.zeros(3, 8)).item() == pytest.approx(math.log(8))
    two = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])
    expected = (math.log(2) - 0.25 * math.log(0.25) - 0.75 * math.log(0.75)) / 2
    assert entropy(two).item() == pytest.approx(expected)
