import numpy as np
import pytest

from videokd.evaluation.metrics import (
    confusion_matrix,
    fuse_views,
    mean_class_accuracy,
    top_k_accuracy,
)


def _random(num_videos=40, num_classes=7):
    rng = np.random.default_rng(0)
    # Few distinct values, so that there are ties.
    probs = rng.integers(0, 4, (num_videos, num_classes)).astype(np.float64)
    return probs, rng.integers(0, num_classes, num_videos)


def test_views_are_fused_as_the_mean_of_their_softmax():
    logits = np.random.default_rng(0).normal(0, 3, (4, 3, 5)).astype(np.float32)
    fused = fuse_views(logits)
    for n in range(4):
        expected = np.zeros(5)
        for v in range(3):
            exponentials = [np.exp(float(x)) for x in logits[n, v]]
            expected += np.array(exponentials) / sum(exponentials) / 3
        np.testing.assert_allclose(fused[n], expected)
    np.testing.assert_allclose(fused.sum(axis=1), 1)


def test_huge_logits_are_fused_without_overflow():
    fused = fuse_views(np.array([[[1e4, 0.0], [-1e4, -2e4]]], np.float32))
    np.testing.assert_allclose(fused, [[1.0, 0.0]])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_that_of_a_slow_loop_where_ties_count_against_the_label(k):
    probs, labels = _random()
    num_right = 0
    for row, label in zip(probs, labels, strict=True):
        num_as_high = sum(row[j] >= row[label] for j in range(len(row)) if j != label)
        num_right += num_as_high < k
    assert top_k_accuracy(probs, labels, k) == pytest.approx(100 * num_right / len(labels))


def test_with_fewer_classes_than_k_all_are_right():
    probs, labels = _random(num_classes=4)
    assert top_k_accuracy(probs, labels, 5) == top_k_accuracy(probs, labels, 4) == 100.0


@pytest.mark.parametrize("value", [0.2, np.nan])
def test_a_score_that_says_nothing_is_never_right(value):
    probs, labels = np.full((5, 5), value), np.arange(5)
    assert top_k_accuracy(probs, labels, 1) == 0
    assert mean_class_accuracy(probs, labels) == 0


def test_mean_class_accuracy_weighs_the_classes_that_occur_alike():
    # Class 0: 3 of 4 right. Class 2: 0 of 1. Class 1 does not occur.
    probs = np.eye(3)[[0, 0, 0, 1, 1]]
    labels = np.array([0, 0, 0, 0, 2])
    assert mean_class_accuracy(probs, labels) == pytest.approx((75 + 0) / 2)
    assert top_k_accuracy(probs, labels, 1) == pytest.approx(60)


def test_rows_of_the_confusion_matrix_are_labels():
    predicted, labels = np.array([0, 1, 1, 2, 1]), np.array([0, 0, 1, 2, 0])
    assert confusion_matrix(predicted, labels, 3).tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 1]]
