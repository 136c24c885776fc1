"""Which classes a change of model helps and which it hurts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videokd.evaluation.decisions import decide


@dataclass(frozen=True)
class ClassChange:
    """The top-1 accuracy of one class under two models."""

    label: int
    num_videos: int
    before: float
    """In percent."""
    after: float
    """In percent."""

    @property
    def points(self) -> float:
        """After minus before, in percentage points."""
        return self.after - self.before


def class_changes(
    before: NDArray[np.float64], after: NDArray[np.float64], labels: NDArray[np.int64]
) -> list[ClassChange]:
    """Compare two models class by class.

    Weighted by their videos, the changes have the change of top-1 accuracy as their mean.

    Args:
        before: (N, K) scores of one model; a tie for the highest counts as wrong.
        after: (N, K) scores of the other on the same videos.
        labels: (N,) in [0, K).

    Returns:
        One entry for each class that occurs, in the order of the labels.
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
