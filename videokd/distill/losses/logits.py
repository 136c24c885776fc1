"""Logit losses: of student and teacher logits (B, K), and for DKD also of the labels (B,)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from videokd.distill.losses.common import check_same_shape, check_temperature, unit_vectors

_STANDARDISE_EPS = 1e-6


def soft_cross_entropy(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float
) -> Tensor:
    """Compute the temperature-scaled cross-entropy between the teacher's and student's softmax.

    loss = -tau^2 * mean_b sum_k p_bk log q_bk,  p = softmax(teacher / tau), q = softmax(student /
    tau). Its gradient is that of tau^2 * KL(p || q); its value is larger by tau^2 times the entropy
    of p. The factor tau^2 keeps the scale of the gradient independent of tau (Hinton et al. 2015,
    section 2; METHOD, stage 3).

    Args:
        student_logits: (B, K), any float dtype.
        teacher_logits: (B, K), any float dtype; carries no gradient.
        temperature: > 0, dimensionless.

    Returns:
        Scalar float32.

    Raises:
        ValueError: Shapes differ, or temperature <= 0.
    """
    check_temperature(temperature)
    check_same_shape(student_logits, teacher_logits)
    targets = F.softmax(teacher_logits.detach().float() / temperature, dim=1)
    return F.cross_entropy(student_logits.float() / temperature, targets) * temperature**2


def decoupled_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    alpha: float = 1.0,
    beta: float = 8.0,
) -> Tensor:
    """Compute DKD: separate KL terms for the true class and for the other classes.

    loss = tau^2 * mean_b (alpha * KL(b^T || b^S) + beta * KL(p^T || p^S)),  b = (probability of the
    true class, of all others), p = softmax over the K - 1 other classes, both at logits / tau. With
    alpha = 1 and beta = 1 - b^T_0 for each clip it is tau^2 * KL of the full distributions (Zhao et
    al. 2022, "Decoupled Knowledge Distillation", section 3). The defaults come from the authors'
    CIFAR-100 code; the more confident the teacher, the larger the best beta.

    Args:
        student_logits: (B, K), K >= 2, any float dtype.
        teacher_logits: (B, K), any float dtype; carries no gradient.
        labels: (B,) int64 in [0, K).
        temperature: > 0, dimensionless.
        alpha: Weight of the true class's term.
        beta: Weight of the other classes' term.

    Returns:
        Scalar float32 >= 0. Zero if both distributions are equal.

    Raises:
        ValueError: Shapes differ, K < 2, labels are not (B,), or temperature <= 0.
    """
    check_temperature(temperature)
    check_same_shape(student_logits, teacher_logits)
    num_clips, num_classes = student_logits.shape
    if num_classes < 2:
        raise ValueError(f"decoupled_kd needs logits of >= 2 classes, got {num_classes}")
    if labels.shape != (num_clips,):
        raise ValueError(f"labels must have shape ({num_clips},), got {tuple(labels.shape)}")
    odds, others = _split_off_target(student_logits.float() / temperature, labels)
    teacher_odds, teacher_others = _split_off_target(
        teacher_logits.detach().float() / temperature, labels
    )
    target_term = _kl_divergence(_log_binary(teacher_odds), _log_binary(odds))
    others_term = _kl_divergence(F.log_softmax(teacher_others, 1), F.log_softmax(others, 1))
    return (alpha * target_term + beta * others_term) * temperature**2


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float,
    beta: float = 1.0,
    gamma: float = 1.0,
) -> Tensor:
    """Compute DIST: one minus the correlation of the probabilities, per clip and per class.

    loss = beta * mean_b (1 - rho(q_b:, p_b:)) + gamma * mean_k (1 - rho(q_:k, p_:k)),  rho the
    Pearson correlation, p = softmax(teacher / tau), q = softmax(student / tau) (Huang et al. 2022,
    "Knowledge Distillation from a Stronger Teacher", section 4). The loss is invariant to positive
    affine changes of the probabilities and to shifts of a clip's logits, but not to the scale of
    the logits, because softmax comes first. There is no tau^2, since a correlation has no scale to
    restore; the authors' code multiplies by it, which equals beta and gamma times tau^2.

    A row or column whose spread is far below 1e-4 counts as uncorrelated, with a bounded gradient.
    Examples are classes with no predicted probability in a batch, and every column of a batch of
    one clip, which then adds gamma and no gradient.

    Args:
        student_logits: (B, K), any float dtype.
        teacher_logits: (B, K), any float dtype; carries no gradient.
        temperature: > 0, dimensionless.
        beta: Weight of the term over classes within a clip (inter-class).
        gamma: Weight of the term over clips within a class (intra-class).

    Returns:
        Scalar float32 in [0, 2 * (beta + gamma)]. Zero, up to the epsilon of the norm, if both
        correlate perfectly.

    Raises:
        ValueError: Shapes differ, or temperature <= 0.
    """
    check_temperature(temperature)
    check_same_shape(student_logits, teacher_logits)
    q = F.softmax(student_logits.float() / temperature, dim=1)
    p = F.softmax(teacher_logits.detach().float() / temperature, dim=1)
    return beta * _pearson_distance(q, p, dim=1) + gamma * _pearson_distance(q, p, dim=0)


def standardise_logits(logits: Tensor) -> Tensor:
    """Shift and scale each clip's logits to mean 0 and standard deviation 1 over the classes.

    (z - mean_k z) / sqrt(var_k z + 1e-6), the variance over K (not K - 1). Apply it to student and
    teacher before a loss: the scale of the student's logits is then free, and the temperature is in
    units of their standard deviation (Sun et al. 2024, "Logit Standardization in Knowledge
    Distillation", algorithm 1).

    Args:
        logits: (B, K), any float dtype.

    Returns:
        (B, K) float32; zeros, with a finite gradient, for constant logits.
    """
    return F.layer_norm(logits.float(), logits.shape[1:], eps=_STANDARDISE_EPS)


def entropy(logits: Tensor) -> Tensor:
    """Return the mean entropy in nats of softmax(logits), a float32 scalar, for logits (B, K)."""
    log_probs = F.log_softmax(logits.float(), dim=1)
    return -(log_probs.exp() * log_probs).sum(dim=1).mean()


def _split_off_target(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the true class's log odds (B,) and the other classes' logits (B, K - 1)."""
    # Indexing with a boolean mask would wait for the device to count the selected elements. -inf at
    # the true class would make its KL term 0 * inf.
    places = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    others = logits.gather(1, places + (places >= labels[:, None]))
    target = logits.gather(1, labels[:, None]).squeeze(1)
    return target - others.logsumexp(dim=1), others


def _log_binary(odds: Tensor) -> Tensor:
    """Return the log probabilities (B, 2) of an event and its complement from log odds (B,)."""
    return F.logsigmoid(torch.stack([odds, -odds], dim=1))


def _kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return the mean over B of KL(p || q) from log probabilities (B, K)."""
    # ``torch.vmap`` computes F.kl_div in a loop over the clips, see ``DistillObjective``.
    return (log_p.exp() * (log_p - log_q)).sum() / len(log_q)


def _pearson_distance(q: Tensor, p: Tensor, *, dim: int) -> Tensor:
    """Return the mean of 1 - Pearson correlation along ``dim``."""
    q, p = (unit_vectors(x - x.mean(dim, keepdim=True), dim=dim) for x in (q, p))
    return 1 - (q * p).sum(dim).mean()
