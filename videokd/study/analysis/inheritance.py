"""Comparison of student and teacher: shared errors, top-1 agreement, divergence of the scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videokd.study.analysis.decisions import decide


@dataclass(frozen=True)
class InheritedErrors:
    """Predictions of a student for the videos that its teacher gets wrong."""

    num_teacher_errors: int
    wrong: float
    """Percentage of the teacher's errors that the student gets wrong too; nan without errors."""
    same: float
    """Percentage of the teacher's errors with the same predicted class; nan without errors."""


def inherited_errors(
    teacher: NDArray[np.float64], student: NDArray[np.float64], labels: NDArray[np.int64]
) -> InheritedErrors:
    """Count the teacher's errors that the student repeats.

    Hard videos and common confusions are shared by chance. Compare with the same numbers of a
    reference student that was trained without the teacher.

    A score tie is an error without a class: it counts as ``wrong`` but never as ``same``.

    Args:
        teacher: (N, K) scores.
        student: (N, K) scores of the same videos.
        labels: (N,) in [0, K).
    """
    by_teacher, by_student = decide(teacher), decide(student)
    is_error = by_teacher != labels
    num_errors = int(is_error.sum())
    if not num_errors:
        return InheritedErrors(0, float("nan"), float("nan"))
    is_wrong = is_error & (by_student != labels)
    is_same = is_error & (by_student == by_teacher) & (by_teacher >= 0)
    return InheritedErrors(
        num_errors,
        float(100 * is_wrong.sum() / num_errors),
        float(100 * is_same.sum() / num_errors),
    )


def top1_agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Compute the percentage of videos for which two models predict the same class.

    The class may be right or wrong.

    Args:
        a: (N, K) scores, N > 0; a video with a tie for the highest counts as disagreement.
        b: (N, K) scores of the same videos.
    """
    by_a, by_b = decide(a), decide(b)
    return float(100 * ((by_a == by_b) & (by_a >= 0)).mean())


def mean_kl_divergence(teacher: NDArray[np.float64], student: NDArray[np.float64]) -> float:
    """Compute the mean over videos of KL(teacher || student) = sum p log(p / q), in nats.

    Args:
        teacher: (N, K) probabilities, rows sum to 1, N > 0.
        student: (N, K) probabilities of the same videos.

    Returns:
        >= 0; inf if the student gives probability 0 to a class that the teacher does not rule out.
    """
    from scipy.special import rel_entr

    return float(rel_entr(teacher, student).sum(axis=1).mean())
