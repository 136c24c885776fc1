import math

import pytest
import torch
import torch.nn.functional as F

from videokd.distill.losses import (
    decoupled_kd,
    dist_loss,
    entropy,
    soft_cross_entropy,
    standardise_logits,
)

TEMPERATURES = [0.5, 1.0, 2.0, 4.0]


def _pair():
    student, teacher = 3 * torch.randn(2, 5, 7)
    return student.requires_grad_(), teacher


def _softmax(row, temperature):
    exps = [(value / temperature).exp() for value in row]
    return [value / sum(exps) for value in exps]


def _kl(p, q):
    return sum(p_k * (p_k / q_k).log() for p_k, q_k in zip(p, q, strict=True))


def _full_kl(student, teacher, temperature):
    """tau^2 * KL for each clip, in a float64 loop."""
    rows = zip(student, teacher.double(), strict=True)
    kls = [_kl(_softmax(t, temperature), _softmax(s, temperature)) for s, t in rows]
    return [temperature**2 * kl for kl in kls]


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_soft_cross_entropy_equals_a_float64_loop_in_value_and_gradient(
    assert_same_with_gradient, temperature
):
    student, teacher = _pair()

    def slow(double):
        total = 0.0
        for row, teacher_row in zip(double, teacher.double(), strict=True):
            q, p = _softmax(row, temperature), _softmax(teacher_row, temperature)
            total = total - sum(p_k * q_k.log() for p_k, q_k in zip(p, q, strict=True))
        return temperature**2 * total / len(double)

    loss = soft_cross_entropy(student, teacher, temperature=temperature)
    assert_same_with_gradient(loss, slow, student, atol=1e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_soft_cross_entropy_is_the_scaled_kl_divergence_plus_the_teachers_entropy(
    assert_same_with_gradient, temperature
):
    student, teacher = _pair()
    loss = soft_cross_entropy(student, teacher, temperature=temperature)
    excess = loss - temperature**2 * entropy(teacher / temperature)
    assert_same_with_gradient(
        excess, lambda s: sum(_full_kl(s, teacher, temperature)) / 5, student, atol=1e-5
    )


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_soft_cross_entropy_of_equal_logits_is_the_scaled_entropy(temperature):
    logits = 3 * torch.randn(5, 7)
    loss = soft_cross_entropy(logits, logits, temperature=temperature)
    torch.testing.assert_close(loss, temperature**2 * entropy(logits / temperature))


def test_soft_cross_entropy_ignores_shifts_of_logits():
    student, teacher = _pair()
    loss = soft_cross_entropy(student, teacher, temperature=2.0)
    shifted = soft_cross_entropy(student + torch.randn(5, 1), teacher - 3.0, temperature=2.0)
    torch.testing.assert_close(shifted, loss)


def test_the_squared_temperature_keeps_the_scale_of_the_gradient():
    # For small logits the gradient tends to (student - teacher) / (B * K) at any temperature.
    student, teacher = 1e-3 * torch.randn(2, 4, 6)
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    for temperature in (1.0, 4.0, 16.0):
        leaf = student.clone().requires_grad_()
        soft_cross_entropy(leaf, teacher, temperature=temperature).backward()
        torch.testing.assert_close(leaf.grad, centred / 24, rtol=1e-2, atol=1e-7)


def test_soft_cross_entropy_of_huge_logits_is_the_logit_difference():
    student = torch.tensor([[1e4, -1e4, 0.0]])
    teacher = torch.tensor([[-1e4, 1e4, 0.0]])
    loss = soft_cross_entropy(student, teacher, temperature=2.0)
    assert loss.item() == pytest.approx(2.0**2 * 2e4 / 2.0)  # -log q of the teacher's only class
    assert entropy(teacher).item() == pytest.approx(0.0)


def test_entropy_is_log_k_for_equal_logits_and_a_mean_over_the_batch():
    assert entropy(torch.zeros(3, 8)).item() == pytest.approx(math.log(8))
    two = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])
    expected = (math.log(2) - 0.25 * math.log(0.25) - 0.75 * math.log(0.75)) / 2
    assert entropy(two).item() == pytest.approx(expected)


LABELS = torch.tensor([0, 3, 6, 2, 2])


def _slow_decoupled_kd(student, teacher, *, temperature, alpha, beta):
    total = 0.0
    for row, teacher_row, label in zip(student, teacher.double(), LABELS.tolist(), strict=True):
        q, p = _softmax(row, temperature), _softmax(teacher_row, temperature)
        target_term = _kl([p[label], 1 - p[label]], [q[label], 1 - q[label]])
        others = [k for k in range(7) if k != label]
        others_term = _kl(
            [p[k] / (1 - p[label]) for k in others], [q[k] / (1 - q[label]) for k in others]
        )
        total = total + alpha * target_term + beta * others_term
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.0, 1.0), (0.7, 8.0)])
def test_decoupled_kd_equals_a_float64_loop_in_value_and_gradient(
    assert_same_with_gradient, temperature, alpha, beta
):
    student, teacher = _pair()
    options = {"temperature": temperature, "alpha": alpha, "beta": beta}
    loss = decoupled_kd(student, teacher, LABELS, **options)
    assert_same_with_gradient(
        loss, lambda s: _slow_decoupled_kd(s, teacher, **options), student, atol=1e-5
    )


def test_decoupled_kd_with_the_teachers_own_weights_is_the_kl_divergence():
    # Equation 6 of the paper: KL = TCKD + (1 - p_target) * NCKD, for each clip.
    student, teacher = _pair()
    probs = F.softmax(teacher / 2.0, dim=1)
    for b, expected in enumerate(_full_kl(student.double(), teacher, 2.0)):
        one, label = slice(b, b + 1), LABELS[b]
        beta = 1 - probs[b, label].item()
        loss = decoupled_kd(student[one], teacher[one], LABELS[one], temperature=2.0, beta=beta)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_decoupled_kd_ignores_shifts_of_logits_and_the_order_of_batch_and_classes():
    student, teacher = _pair()
    loss = decoupled_kd(student, teacher, LABELS, temperature=2.0)
    shifted = decoupled_kd(student + torch.randn(5, 1), teacher - 3.0, LABELS, temperature=2.0)
    order, classes = torch.randperm(5), torch.randperm(7)
    permuted = decoupled_kd(
        student[order][:, classes],
        teacher[order][:, classes],
        classes.argsort()[LABELS[order]],
        temperature=2.0,
    )
    torch.testing.assert_close(shifted, loss)
    torch.testing.assert_close(permuted, loss)


def test_decoupled_kd_of_equal_logits_is_zero():
    _, teacher = _pair()
    assert decoupled_kd(teacher, teacher, LABELS, temperature=2.0).item() == 0.0


def test_decoupled_kd_of_huge_logits_is_the_difference_of_log_odds():
    student = torch.tensor([[1e4, -1e4, -1e4]])
    loss = decoupled_kd(student, -student, torch.tensor([0]), temperature=2.0, beta=1.0)
    # The teacher is sure that it is one of the two others.
    assert loss.item() == pytest.approx(2.0**2 * (2e4 / 2.0 - math.log(2)))


def test_decoupled_kd_of_two_classes_has_a_target_term_only():
    student, teacher = torch.randn(2, 3, 2)
    labels = torch.tensor([0, 1, 1])
    loss = decoupled_kd(student, teacher, labels, temperature=1.0, beta=8.0)
    expected = sum(_full_kl(student.double(), teacher, 1.0)) / 3
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_decoupled_kd_refuses_one_class_and_labels_of_another_shape():
    with pytest.raises(ValueError, match="needs logits of >= 2 classes, got 1"):
        decoupled_kd(torch.zeros(2, 1), torch.zeros(2, 1), LABELS[:2], temperature=1.0)
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\), got \(5,\)"):
        decoupled_kd(torch.zeros(2, 3), torch.zeros(2, 3), LABELS, temperature=1.0)


def _slow_correlation(u, v):
    mean_u, mean_v = sum(u) / len(u), sum(v) / len(v)
    cov = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
    var_u, var_v = sum((a - mean_u) ** 2 for a in u), sum((b - mean_v) ** 2 for b in v)
    return cov / (var_u * var_v).sqrt()


def _slow_dist(student, teacher, *, temperature, beta, gamma):
    q = [_softmax(row, temperature) for row in student]
    p = [_softmax(row, temperature) for row in teacher.double()]
    by_clip = [1 - _slow_correlation(u, v) for u, v in zip(q, p, strict=True)]
    columns = zip(zip(*q, strict=True), zip(*p, strict=True), strict=True)
    by_class = [1 - _slow_correlation(u, v) for u, v in columns]
    return beta * sum(by_clip) / len(by_clip) + gamma * sum(by_class) / len(by_class)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 0.0), (0.0, 1.0), (2.0, 0.5)])
def test_dist_equals_a_float64_loop_in_value_and_gradient(
    assert_same_with_gradient, temperature, beta, gamma
):
    student, teacher = torch.randn(2, 5, 7)
    student.requires_grad_()
    options = {"temperature": temperature, "beta": beta, "gamma": gamma}
    loss = dist_loss(student, teacher, **options)
    assert_same_with_gradient(loss, lambda s: _slow_dist(s, teacher, **options), student, atol=1e-5)


def test_dist_of_equal_logits_is_zero():
    _, teacher = _pair()
    assert dist_loss(teacher, teacher, temperature=1.0).item() == pytest.approx(0.0, abs=1e-5)


def test_dist_ignores_positive_affine_changes_of_the_probabilities():
    probs = F.softmax(torch.randn(5, 7), dim=1)
    faded = 0.3 * probs + 0.7 / 7
    loss = dist_loss(faded.log(), probs.log(), temperature=1.0)
    assert loss.item() == pytest.approx(0.0, abs=1e-4)


def test_dist_ignores_shifts_of_a_clips_logits_but_not_their_scale():
    student, teacher = _pair()
    loss = dist_loss(student, teacher, temperature=2.0)
    shifted = dist_loss(student + torch.randn(5, 1), teacher - 3.0, temperature=2.0)
    torch.testing.assert_close(shifted, loss)
    assert dist_loss(3 * teacher, teacher, temperature=2.0) > 0.01


def test_dist_counts_disagreements_of_two_classes():
    # Over two classes the correlation of a clip is the sign of (student's order * teacher's).
    student = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 0.5], [0.2, 0.0]])
    teacher = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 4.0], [1.0, 0.0]])
    loss = dist_loss(student, teacher, temperature=1.0, gamma=0.0)
    assert loss.item() == pytest.approx(2 * 1 / 4, abs=1e-5)


def test_dist_of_one_clip_has_no_gradient_within_classes():
    student, teacher = torch.randn(2, 1, 7)
    student.requires_grad_()
    loss = dist_loss(student, teacher, temperature=1.0, beta=0.0, gamma=2.0)
    assert loss.item() == 2.0
    assert not torch.autograd.grad(loss, student)[0].any()


def test_standardised_logits_have_mean_0_and_deviation_1():
    logits = 30 * torch.randn(5, 7) + 4
    for row, standard in zip(logits.double(), standardise_logits(logits), strict=True):
        mean = sum(row) / 7
        deviation = (sum((z - mean) ** 2 for z in row) / 7).sqrt()
        torch.testing.assert_close(standard.double(), (row - mean) / deviation, atol=1e-5, rtol=0)


def test_standardised_logits_ignore_positive_affine_changes_of_each_clip():
    logits = torch.randn(5, 7)
    changed = logits * torch.tensor([[0.5], [1.0], [2.0], [10.0], [1e4]]) + torch.randn(5, 1)
    torch.testing.assert_close(standardise_logits(changed), standardise_logits(logits))


def test_constant_logits_standardise_to_zero_with_a_finite_gradient():
    logits = torch.full((2, 7), 3.0, requires_grad=True)
    standard = standardise_logits(logits)
    assert not standard.any()
    assert torch.autograd.grad(standard[:, 0].sum(), logits)[0].isfinite().all()


LOSSES = {
    "soft_cross_entropy": soft_cross_entropy,
    "dkd": lambda s, t, temperature: decoupled_kd(s, t, LABELS[:2], temperature=temperature),
    "dist": dist_loss,
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(name, temperature):
    with pytest.raises(ValueError, match=f"temperature must be > 0, got {temperature}"):
        LOSSES[name](torch.zeros(2, 7), torch.zeros(2, 7), temperature=temperature)


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_would_broadcast_are_refused(name):
    with pytest.raises(ValueError, match=r"must have one shape, got \(2, 7\) and \(2, 1\)"):
        LOSSES[name](torch.zeros(2, 7), torch.zeros(2, 1), temperature=1.0)
