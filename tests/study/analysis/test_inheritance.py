import numpy as np
import pytest
from scipy import stats

from videokd.study.analysis.inheritance import (
    InheritedErrors,
    inherited_errors,
    mean_kl_divergence,
    top1_agreement,
)


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


def test_kl_is_that_of_scipy_and_worked_out_by_hand():
    teacher, student = _probs(20, 5, seed=0), _probs(20, 5, seed=1)
    expected = stats.entropy(teacher, student, axis=1).mean()
    assert mean_kl_divergence(teacher, student) == pytest.approx(expected)
    by_hand = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    one = mean_kl_divergence(np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]]))
    assert one == pytest.approx(by_hand)


def test_kl_is_zero_for_equal_scores_and_infinite_for_a_class_ruled_out():
    probs = np.array([[1.0, 0.0], [0.5, 0.5]])
    assert mean_kl_divergence(probs, probs) == 0
    assert mean_kl_divergence(probs[1:], probs[:1]) == np.inf
