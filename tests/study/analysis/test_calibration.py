import numpy as np
import pytest

from videokd.evaluation.metrics import top_k_accuracy
from videokd.study.analysis.calibration import (
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)


def _probs(num_videos, num_classes=3):
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(num_classes, 0.5), num_videos)
    return probs, rng.integers(0, num_classes, num_videos)


def _binary(confidences):
    """Return scores of two classes, class 0 with the given probability."""
    return np.stack([confidences, 1 - np.asarray(confidences)], axis=1)


def test_the_table_and_its_error_are_those_worked_out_by_hand():
    # Four bins: 0.6, 0.7 fall in (0.5, 0.75], 0.8, 0.9, 1.0 in (0.75, 1].
    probs, labels = _binary([0.6, 0.7, 0.8, 0.9, 1.0]), np.array([0, 1, 0, 0, 1])
    table = reliability(probs, labels, num_bins=4)
    assert table.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert table.num_videos.tolist() == [0, 0, 2, 3]
    np.testing.assert_allclose(table.confidence, [np.nan, np.nan, 65, 90])
    np.testing.assert_allclose(table.accuracy, [np.nan, np.nan, 50, 200 / 3])
    expected = (2 * 15 + 3 * (90 - 200 / 3)) / 5
    assert expected_calibration_error(probs, labels, num_bins=4) == pytest.approx(expected)


def test_a_bin_holds_its_upper_edge():
    probs = _binary([0.75, np.nextafter(0.75, 1), 1.0])
    table = reliability(probs, np.zeros(3, np.int64), num_bins=4)
    assert table.num_videos.tolist() == [0, 0, 1, 2]


def test_the_error_is_that_of_a_slow_loop_over_15_bins():
    probs, labels = _probs(200)
    error = 0.0
    for m in range(15):
        own = [n for n in range(200) if m / 15 < max(probs[n]) <= (m + 1) / 15]
        if own:
            accuracy = sum(np.argmax(probs[n]) == labels[n] for n in own) / len(own)
            confidence = sum(max(probs[n]) for n in own) / len(own)
            error += 100 * len(own) / 200 * abs(accuracy - confidence)
    assert expected_calibration_error(probs, labels) == pytest.approx(error)


def test_the_bins_together_have_the_accuracy_of_the_model():
    probs, labels = _probs(200)
    table = reliability(probs, labels)
    num_right = np.nansum(table.accuracy * table.num_videos) / 100
    assert 100 * num_right / 200 == pytest.approx(top_k_accuracy(probs, labels, 1))
    assert table.num_videos.sum() == 200


def test_labels_drawn_from_the_probabilities_are_calibrated_and_sharper_scores_are_not():
    probs, _ = _probs(20_000)
    rng = np.random.default_rng(1)
    labels = (probs.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert expected_calibration_error(probs, labels) < 1.5
    sharp = probs**3 / (probs**3).sum(axis=1, keepdims=True)
    assert expected_calibration_error(sharp, labels) > 8


def test_one_bin_compares_mean_confidence_with_accuracy():
    probs, labels = _binary([0.6, 0.7, 0.8, 0.9]), np.array([0, 1, 1, 1])
    error = expected_calibration_error(probs, labels, num_bins=1)
    assert error == pytest.approx(75 - 25)


def test_a_score_that_is_no_number_makes_the_error_none():
    probs, labels = _probs(20)
    probs[3, 1] = np.nan
    assert np.isnan(expected_calibration_error(probs, labels))


def test_likelihood_is_that_of_scikit_learn_and_infinite_where_the_label_is_ruled_out():
    from sklearn.metrics import log_loss

    probs, labels = _probs(50)
    assert negative_log_likelihood(probs, labels) == pytest.approx(log_loss(labels, probs))
    assert negative_log_likelihood(np.array([[0.0, 1.0]]), np.array([0])) == np.inf
