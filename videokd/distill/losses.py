"""Distillation losses: pure functions of tensors, computed in float32 whatever comes in.

Weights are not applied here: the log shows every term unweighted.
"""

import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float
) -> Tensor:
    """Compute the temperature-scaled cross-entropy of the student under the teacher's labels.

    loss = -tau^2 * mean_b sum_k p_bk log q_bk,  p = softmax(teacher / tau), q = softmax(student /
    tau). It has the gradient of tau^2 * KL(p || q) and exceeds it by tau^2 times the entropy of p;
    tau^2 keeps the gradient's scale independent of tau (Hinton et al. 2015, section 2; METHOD,
    stage 3).

    Args:
        student_logits: (B, K), any float dtype.
        teacher_logits: (B, K), any float dtype; carries no gradient.
        temperature: > 0, dimensionless.

    Returns:
        Scalar float32.

    Raises:
        ValueError: Shapes differ, or temperature <= 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    _check_shapes(student_logits, teacher_logits)
    targets = F.softmax(teacher_logits.detach().float() / temperature, dim=1)
    return F.cross_entropy(student_logits.float() / temperature, targets) * temperature**2


def feature_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the mean squared error of two feature maps or embeddings, over all elements.

    Args:
        student: (B, C, T, H, W) or (B, D), any float dtype.
        teacher: The same shape; carries no gradient.

    Returns:
        Scalar float32, zero iff the two agree.

    Raises:
        ValueError: Shapes differ.
    """
    _check_shapes(student, teacher)
    return F.mse_loss(student.float(), teacher.detach().float())


def entropy(logits: Tensor) -> Tensor:
    """Return the mean entropy in nats of softmax(logits), a float32 scalar, for logits (B, K)."""
    log_probs = F.log_softmax(logits.float(), dim=1)
    return -(log_probs.exp() * log_probs).sum(dim=1).mean()


def _check_shapes(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher must have one shape, got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
        )
