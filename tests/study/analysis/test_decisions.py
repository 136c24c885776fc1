import numpy as np

from videokd.evaluation.metrics import top_k_accuracy
from videokd.study.analysis.decisions import decide


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
