import numpy as np
import pytest

from videokd.study.analysis.embedding_quality import knn_accuracy, silhouette, tsne_points


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


def test_silhouette_is_that_of_a_slow_loop():
    points, labels = _clusters(5, 0.5)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    scores = []
    for i in range(len(points)):
        far = {c: [] for c in range(3)}
        for j in range(len(points)):
            if j != i:
                far[labels[j]].append(1 - unit[i] @ unit[j])
        own = np.mean(far.pop(labels[i]))
        other = min(np.mean(values) for values in far.values())
        scores.append((other - own) / max(own, other))
    assert silhouette(points, labels) == pytest.approx(np.mean(scores))


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
