"""Feature losses that compare positions: of a map (B, C, T, H, W) or an embedding (B, D)."""

import torch.nn.functional as F
from torch import Tensor

from videokd.distill.losses.common import check_same_grid, check_same_shape, unit_vectors


def feature_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the mean squared error of two feature maps or embeddings, over all elements.

    Args:
        student: (B, C, T, H, W) or (B, D), any float dtype.
        teacher: The same shape; carries no gradient.

    Returns:
        Scalar float32, zero iff both are equal.

    Raises:
        ValueError: Shapes differ.
    """
    check_same_shape(student, teacher)
    return F.mse_loss(student.float(), teacher.detach().float())


def smooth_l1_cosine(
    student: Tensor, teacher: Tensor, *, weight: float = 0.5, beta: float = 1.0
) -> Tensor:
    """Compute a weighted sum of the cosine distance and the smooth L1 distance.

    loss = weight * mean over b, t, h, w of (1 - cos over C) + (1 - weight) * mean over all elements
    of smooth_l1(student - teacher),  smooth_l1(d) = d^2 / (2 beta) where |d| < beta, |d| - beta / 2
    elsewhere. Equal weights as in UNIC (Sariyildiz et al. 2024); AM-RADIO (Ranzinger et al. 2024)
    and Theia (Shang et al. 2024) weigh the cosine by 0.9. An embedding is treated as one position
    with D channels.

    The cosine of a vector much shorter than 1e-4 counts as 0, and its gradient is bounded.

    Args:
        student: (B, C, T, H, W) or (B, D), any float dtype.
        teacher: The same shape; carries no gradient.
        weight: Weight of the cosine distance, in [0, 1]; smooth L1 has weight 1 - ``weight``.
        beta: Difference at which smooth L1 turns from quadratic to linear, in the features' unit;
            >= 0.

    Returns:
        Scalar float32 >= 0 up to rounding. Zero if both are equal and no vector is zero.

    Raises:
        ValueError: Shapes differ, or weight or beta is out of range.
    """
    check_same_shape(student, teacher)
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be in [0, 1], got {weight}")
    if beta < 0:
        raise ValueError(f"beta must be >= 0, got {beta}")
    student, teacher = student.float(), teacher.detach().float()
    cosine = (unit_vectors(student, dim=1) * unit_vectors(teacher, dim=1)).sum(dim=1).mean()
    return weight * (1 - cosine) + (1 - weight) * F.smooth_l1_loss(student, teacher, beta=beta)


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the squared distance of the normalised attention maps.

    loss = mean_b |Q_S / |Q_S| - Q_T / |Q_T||^2,  Q = sum_c f_c^2 as a vector over the T * H * W
    positions (Zagoruyko & Komodakis 2017, "Paying More Attention to Attention", section 3.1, with
    T * H * W for H * W). The sum over positions makes the scale independent of the grid; the
    authors' code takes the mean. The attention of an embedding is the squares of its D entries, so
    their signs do not count.

    Args:
        student: (B, C, T, H, W) or (B, D), any float dtype.
        teacher: The same B, T, H, W, or the same B and D; C may differ. Carries no gradient.

    Returns:
        Scalar float32 in [0, 2]; 2 if student and teacher attend to disjoint positions, 0 if they
        agree up to one scale per clip.

    Raises:
        ValueError: B, the grid or D differ, or a map is compared with an embedding.
    """
    check_same_grid(student, teacher)
    difference = _attention(student.float()) - _attention(teacher.detach().float())
    return difference.square().sum(dim=1).mean()


def _attention(features: Tensor) -> Tensor:
    """Return unit vectors (B, T * H * W), or (B, D) for an embedding; zeros for zero features."""
    squares = features.square()
    energy = squares.sum(dim=1).flatten(1) if features.ndim > 2 else squares
    return F.normalize(energy, dim=1)
