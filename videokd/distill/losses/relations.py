"""Losses of the relations between a batch's clips: only B must match in student and teacher.

Features are flattened to one vector per clip. Both losses use only the inner products of these
vectors: beside copies of the features, no tensor is larger than B^3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from videokd.distill.losses.common import EPS, check_same_batch, unit_vectors

# Distances below this share of the batch's spread count as zero. Its square exceeds the rounding
# error, positive or negative, of the squared distance of two equal clips.
_TINY = 1e-6


def relational(
    student: Tensor, teacher: Tensor, *, distance_weight: float = 1.0, angle_weight: float = 2.0
) -> Tensor:
    """Compute RKD: the difference in distances and angles between a batch's clips.

    loss = distance_weight * mean over pairs i != j of h(d^S_ij - d^T_ij) + angle_weight * mean over
    triplets of distinct i, j, k of h(a^S_ijk - a^T_ijk),  d_ij = |x_i - x_j| / mean over pairs,
    a_ijk = cos of the angle at x_j, h = Huber with delta 1 (Park et al. 2019, "Relational Knowledge
    Distillation", sections 3.2.1 and 3.2.2; the weights are in the paper's ratio). The loss is
    invariant to shifts, scalings and rotations of all features. It is computed in float64.

    The distance term is zero for fewer than 2 clips, the angle term for fewer than 3. Equal clips
    have distance 0 and cosine 0, with a finite gradient.

    Args:
        student: (B, C, T, H, W) or (B, D), any float dtype. Memory grows with B^3.
        teacher: The same B, other axes may differ; carries no gradient.
        distance_weight: Weight of the distances' term.
        angle_weight: Weight of the angles' term.

    Returns:
        Scalar float32 >= 0.

    Raises:
        ValueError: B differs.
    """
    check_same_batch(student, teacher)
    num_clips = len(student)
    num_pairs = num_clips * (num_clips - 1)
    distances, angles = _distances_and_angles(student)
    teacher_distances, teacher_angles = _distances_and_angles(teacher.detach())
    distance_term = F.smooth_l1_loss(distances, teacher_distances, reduction="sum")
    angle_term = F.smooth_l1_loss(angles, teacher_angles, reduction="sum")
    loss = distance_weight * distance_term / max(num_pairs, 1)
    loss = loss + angle_weight * angle_term / max(num_pairs * (num_clips - 2), 1)
    return loss.float()


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the squared difference of the similarities between a batch's clips.

    loss = 1 / B^2 * |G_S - G_T|^2 (Frobenius),  G = the inner products x_i . x_j (B, B), each row
    divided by its length (Tung & Mori 2019, "Similarity-Preserving Knowledge Distillation", section
    3). The loss is invariant to scalings and rotations of all features, and zero for a single clip
    whose features are not all zero. It is computed in float64.

    Args:
        student: (B, C, T, H, W) or (B, D), any float dtype.
        teacher: The same B, other axes may differ; carries no gradient.

    Returns:
        Scalar float32 in [0, 4 / B].

    Raises:
        ValueError: B differs.
    """
    check_same_batch(student, teacher)
    return F.mse_loss(_similarities(student), _similarities(teacher.detach())).float()


def cka(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute 1 - linear CKA of the clips' features in a batch.

    CKA = <K, L> / (|K| |L|),  K and L the inner products (B, B) of the student's and the teacher's
    features, flattened and centred over the batch (Kornblith et al. 2019, "Similarity of Neural
    Network Representations Revisited", section 3; as a loss: Li et al. 2021, URL). It is invariant
    to scalings, shifts and rotations of all features, which a projector could learn. It is computed
    in float64; constant features have CKA 0.

    Args:
        student: (B, C, T, H, W) or (B, D), any float dtype.
        teacher: The same B, other axes may differ; carries no gradient.

    Returns:
        Scalar float32 in [0, 1].

    Raises:
        ValueError: B differs.
    """
    check_same_batch(student, teacher)
    similarity = (_centred_products(student) * _centred_products(teacher.detach())).sum()
    return (1 - similarity).float()


def _centred_products(features: Tensor) -> Tensor:
    """Return the inner products of centred features as one unit vector (B * B,)."""
    vectors = features.flatten(1).double()
    return unit_vectors(_gram(vectors - vectors.mean(dim=0)).flatten(), dim=0)


def _distances_and_angles(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances over their mean (B, B) and cosines (B, B, B) of the angles i, j, k at j."""
    # Squared distances are small differences of large products; float32, TF32 and autocast would
    # lose them to rounding. The products are few, so float64 is cheap.
    vectors = features.flatten(1).double()
    gram = _gram(vectors - vectors.mean(dim=0))
    num_clips, sizes = len(gram), gram.diagonal()
    squares = sizes[:, None] + sizes - 2 * gram
    distances = (squares + _TINY**2).sqrt() - _TINY
    mean_distance = distances.sum() / max(num_clips * (num_clips - 1), 1)
    # (x_i - x_j) . (x_k - x_j), at [i, j, k].
    products = gram[:, None, :] - gram[:, :, None] - gram + sizes[:, None]
    inverse = (squares + EPS).rsqrt()
    cosines = products * inverse[:, :, None] * inverse
    is_triplet = ~torch.eye(num_clips, dtype=torch.bool, device=gram.device)[:, None, :]
    return distances / mean_distance.clamp(min=_TINY), cosines * is_triplet


def _similarities(features: Tensor) -> Tensor:
    """Return the inner products (B, B), each row divided by its length."""
    return unit_vectors(_gram(features.flatten(1).double()), dim=1)


def _gram(vectors: Tensor) -> Tensor:
    """Return the inner products (B, B) of vectors (B, D) scaled to a mean square length of 1.

    The scale gets no gradient, because the losses do not depend on it. It makes the epsilons
    relative to the features' size.
    """
    length = vectors.detach().square().sum(dim=1).mean().sqrt()
    vectors = vectors / length.clamp(min=1e-30)
    return vectors @ vectors.T
