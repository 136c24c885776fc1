import itertools

import numpy as np
import pytest

from videokd.study.analysis.embedding_quality import (
    knn_accuracy,
    linear_cka,
    tsne_points,
)


def _clusters(num_per_class, spread, seed=0):
    """Return embeddings around three orthogonal directions, of any length, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), num_per_class)
    points = np.eye(3, 8)[labels] + rng.normal(0, spread, (len(labels), 8))
    return points * rng.uniform(0.1, 10, (len(labels), 1)), labels


@pytest.mark.parametrize("k", [1, 5])
def test_neighbours_vote_as_in_a_slow_loop(k):
    train, train_labels = _clusters(12, 0.7)
    test, test_labels = _clusters(10, 0.7, seed=1)
    num_right = 0
    for x, label in zip(test, test_labels, strict=True):
        far = [1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in train]
        votes = np.zeros(3)
        for i in sorted(range(len(train)), key=far.__getitem__)[:k]:
            votes[train_labels[i]] += 1 / far[i]
        num_right += votes.argmax() == label
    assert 10 < num_right < 30
    accuracy = knn_accuracy(train, train_labels, test, test_labels, k=k)
    assert accuracy == pytest.approx(100 * num_right / 30)


def test_the_length_of_an_embedding_does_not_matter_to_its_neighbours():
    train, train_labels = np.array([[1.0, 0.0], [0.0, 100.0]]), np.array([4, 7])
    test, test_labels = np.array([[50.0, 1.0], [0.1, 0.2]]), np.array([4, 7])
    assert knn_accuracy(train, train_labels, test, test_labels, k=1) == 100


def test_the_nearer_neighbours_decide_an_even_vote():
    # One neighbour of either class: class 9 is nearer.
    train, train_labels = np.array([[0.0, 1.0], [1.0, 0.1]]), np.array([2, 9])
    assert knn_accuracy(train, train_labels, np.array([[1.0, 0.0]]), np.array([9]), k=2) == 100


def test_tsne_keeps_clusters_together_and_repeats_itself():
    embeddings, labels = _clusters(10, 0.05)
    points = tsne_points(embeddings, perplexity=5, seed=0)
    assert points.shape == (30, 2)
    far = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(30, np.inf))
    assert (labels[far.argmin(axis=1)] == labels).all()
    np.testing.assert_array_equal(points, tsne_points(embeddings, perplexity=5, seed=0))


def test_tsne_refuses_a_perplexity_beyond_the_videos():
    with pytest.raises(ValueError, match="perplexity"):
        tsne_points(_clusters(5, 0.1)[0], seed=0)


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
