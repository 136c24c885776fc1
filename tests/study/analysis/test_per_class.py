import numpy as np
import pytest

from videokd.evaluation.metrics import top_k_accuracy
from videokd.study.analysis.per_class import ClassChange, class_changes


def test_changes_are_those_counted_by_hand_for_the_classes_that_occur():
    labels = np.array([0, 0, 0, 0, 3])
    before, after = np.eye(4)[[0, 1, 1, 1, 3]], np.eye(4)[[1, 0, 0, 0, 2]]
    changes = class_changes(before, after, labels)
    assert changes == [ClassChange(0, 4, 25.0, 75.0), ClassChange(3, 1, 100.0, 0.0)]
    assert [change.points for change in changes] == [50, -100]


def test_weighted_by_videos_they_make_up_the_change_of_top_1():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 80)
    # Few distinct values, so that there are ties.
    before, after = (rng.integers(0, 4, (80, 5)).astype(np.float64) for _ in range(2))
    after[:30] = np.eye(5)[labels[:30]]
    changes = class_changes(before, after, labels)
    total = sum(change.num_videos * change.points for change in changes) / 80
    expected = top_k_accuracy(after, labels, 1) - top_k_accuracy(before, labels, 1)
    assert expected > 10
    assert total == pytest.approx(expected)
