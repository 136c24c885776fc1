import itertools

import numpy as np
import pytest

from videokd.study.analysis.similarity import linear_cka


def _normal(num, width, seed=0):
    return np.random.default_rng(seed).normal(size=(num, width))


def _slow_hsic(k, ell):
    """Return the U-statistic of HSIC: a mean over all ordered choices of four videos."""
    terms = [
        k[i, j] * (ell[i, j] + ell[q, r] - 2 * ell[i, q])
        for i, j, q, r in itertools.permutations(range(len(k)), 4)
    ]
    return sum(terms) / len(terms)


def test_cka_is_that_of_the_mean_over_all_choices_of_four_videos():
    x, y = _normal(8, 3), _normal(8, 5, seed=1)
    y[:, 0] += x[:, 0]
    k, ell = x @ x.T, y @ y.T
    expected = _slow_hsic(k, ell) / np.sqrt(_slow_hsic(k, k) * _slow_hsic(ell, ell))
    assert 0.05 < abs(expected) < 0.95
    assert linear_cka(x, y) == pytest.approx(expected)


def test_an_embedding_is_like_itself():
    assert linear_cka(_normal(20, 6), _normal(20, 6)) == pytest.approx(1)


def test_rotation_shift_and_one_scale_do_not_matter_but_a_scale_per_axis_does():
    x = _normal(30, 6)
    rotation = np.linalg.qr(_normal(6, 6, seed=1))[0]
    assert linear_cka(x, 7 * x @ rotation + 100) == pytest.approx(1)
    assert linear_cka(x, x * [10, 1, 1, 1, 1, 1]) < 0.9


def test_it_does_not_matter_which_comes_first():
    x, y = _normal(20, 4), _normal(20, 9, seed=1)
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x))


def test_unrelated_wide_embeddings_are_unlike_where_the_biased_estimator_finds_them_alike():
    x, y = _normal(20, 2000), _normal(20, 2000, seed=1)
    k, ell = (np.cov(features) for features in (x - x.mean(0), y - y.mean(0)))
    centring = np.eye(20) - 1 / 20
    k, ell = centring @ k @ centring, centring @ ell @ centring
    biased = (k * ell).sum() / (np.linalg.norm(k) * np.linalg.norm(ell))
    assert biased > 0.9
    assert abs(linear_cka(x, y)) < 0.2


def test_the_mean_over_unrelated_embeddings_is_zero():
    values = [linear_cka(_normal(12, 40, s), _normal(12, 40, 1000 + s)) for s in range(400)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 0.02


def test_float32_far_from_the_origin_is_compared_without_loss():
    x = _normal(30, 6).astype(np.float32)
    far = (x + np.float32(1000)).astype(np.float32)
    assert linear_cka(far, far.astype(np.float64) - 1000) == pytest.approx(1)


def test_a_collapsed_embedding_is_like_nothing():
    assert np.isnan(linear_cka(np.full((10, 3), 0.1), _normal(10, 3)))


@pytest.mark.parametrize("shapes", [((5, 2), (6, 2)), ((3, 2), (3, 2)), ((5,), (5, 2))])
def test_embeddings_that_cannot_be_compared_are_refused(shapes):
    with pytest.raises(ValueError, match="N >= 4, got"):
        linear_cka(np.ones(shapes[0]), np.ones(shapes[1]))
