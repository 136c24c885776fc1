"""Statistics of predicted classes: errors that a student shares with its teacher, and per class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def decide(probs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the class with the highest score, or -1 for a tie at the top or a NaN score.

    ``decide(probs) == labels`` agrees with ``top_k_accuracy``: a video with a tie or a NaN score is
    never right.

    Args:
        probs: (N, K) scores, K > 1.

    Returns:
        (N,) in [-1, K).
    """
    highest = probs.max(axis=1, keepdims=True)
    # NaN equals nothing, itself included, so a row with NaN has no highest class.
    is_decided = (probs == highest).sum(axis=1) == 1
    return np.where(is_decided, probs.argmax(axis=1), -1)


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


@dataclass(frozen=True)
class ClassChange:
    """Top-1 accuracy of one class under two models."""

    label: int
    num_videos: int
    before: float
    """In percent."""
    after: float
    """In percent."""

    @property
    def points(self) -> float:
        """Change in percentage points, after minus before."""
        return self.after - self.before


def class_changes(
    before: NDArray[np.float64], after: NDArray[np.float64], labels: NDArray[np.int64]
) -> list[ClassChange]:
    """Compute the accuracy of each class under two models.

    The mean of the changes, weighted by numbers of videos, is the change of top-1 accuracy.

    Args:
        before: (N, K) scores of one model; a tie for the highest counts as wrong.
        after: (N, K) scores of the other model for the same videos.
        labels: (N,) in [0, K).

    Returns:
        One entry per class that occurs, in the order of the labels.
    """
    is_right = np.stack([decide(before) == labels, decide(after) == labels])
    changes = []
    for label in np.unique(labels):
        own = is_right[:, labels == label]
        accuracy = 100 * own.mean(axis=1)
        changes.append(
            ClassChange(int(label), own.shape[1], float(accuracy[0]), float(accuracy[1]))
        )
    return changes
