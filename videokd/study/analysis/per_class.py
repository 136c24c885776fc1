"""Change of the accuracy of each class from one model to another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videokd.study.analysis.decisions import decide


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
