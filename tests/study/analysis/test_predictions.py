import numpy as np
import pytest

from videokd.evaluation.metrics import top_k_accuracy
from videokd.study.analysis.predictions import (
    ClassChange,
    InheritedErrors,
    class_changes,
    decide,
    inherited_errors,
    top1_agreement,
)


def test_a_tie_or_a_score_that_is_no_number_names_no_class():
    probs = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, np.nan, 0.9], [0.3, 0.3, 0.4]])
    assert decide(probs).tolist() == [1, -1, -1, 2]


def test_the_decided_class_is_right_where_top_1_accuracy_says_so():
    rng = np.random.default_rng(0)
    # Few distinct values, so that there are ties; some rows hold NaN.
    probs, labels = rng.integers(0, 6, (500, 4)).astype(np.float64), rng.integers(0, 4, 500)
    probs[rng.random(500) < 0.1, 2] = np.nan
    is_right = decide(probs) == labels
    assert 0 < is_right.mean() < 1
    assert 100 * is_right.mean() == top_k_accuracy(probs, labels, 1)


def _probs(num_videos, num_classes, seed):
    return np.random.default_rng(seed).dirichlet(np.ones(num_classes), num_videos)


def test_inherited_errors_are_those_counted_by_hand():
    labels = np.array([0, 0, 0, 0, 0, 1])
    teacher = np.eye(3)[[0, 1, 1, 2, 2, 1]]
    # Of the teacher's 4 errors: the same, right, the same, another. A mistake of its own last.
    student = np.eye(3)[[0, 1, 0, 2, 1, 2]]
    assert inherited_errors(teacher, student, labels) == InheritedErrors(4, 75.0, 50.0)


def test_a_tie_is_an_error_that_nobody_shares():
    labels = np.array([0, 0, 0])
    tie = np.array([0.5, 0.5, 0.0])
    teacher = np.stack([tie, tie, np.eye(3)[2]])
    student = np.stack([tie, np.eye(3)[0], tie])
    result = inherited_errors(teacher, student, labels)
    assert (result.num_teacher_errors, result.same) == (3, 0)
    assert result.wrong == pytest.approx(200 / 3)


def test_a_teacher_makes_all_of_its_own_errors():
    probs, labels = _probs(50, 4, seed=0), np.arange(50) % 4
    num_errors = int((probs.argmax(axis=1) != labels).sum())
    assert inherited_errors(probs, probs, labels) == InheritedErrors(num_errors, 100, 100)


def test_independent_students_share_wrong_classes_by_chance():
    # K = 4, both guess: wrong in 3 of 4, the same wrong class in 1 of 4.
    labels = np.arange(20_000) % 4
    result = inherited_errors(_probs(20_000, 4, 0), _probs(20_000, 4, 1), labels)
    assert result.wrong == pytest.approx(75, abs=1.5)
    assert result.same == pytest.approx(25, abs=1.5)


def test_a_teacher_without_errors_leaves_none_to_inherit():
    labels = np.array([0, 2])
    result = inherited_errors(np.eye(3)[labels], _probs(2, 3, 0), labels)
    assert result.num_teacher_errors == 0
    assert np.isnan([result.wrong, result.same]).all()


def test_agreement_counts_equal_classes_and_no_ties():
    tie = np.array([0.5, 0.5])
    a = np.stack([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], tie])
    b = np.stack([[0.6, 0.4], [0.3, 0.7], [0.1, 0.9], tie])
    assert top1_agreement(a, b) == 50


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
