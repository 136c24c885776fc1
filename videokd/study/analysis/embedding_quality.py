"""Class structure of embeddings: nearest neighbours, silhouette and t-SNE.

All functions use the cosine distance, because the length of an embedding says little about its
class. They call scikit-learn and fix the options that the results depend on.
"""

import numpy as np
from numpy.typing import NDArray


def knn_accuracy(
    train: NDArray[np.floating],
    train_labels: NDArray[np.int64],
    test: NDArray[np.floating],
    test_labels: NDArray[np.int64],
    *,
    k: int,
) -> float:
    """Compute the percentage of test videos that a k-nearest-neighbour vote classifies correctly.

    The ``k`` nearest training videos vote with weight 1 / cosine distance, so that ties are rare;
    neighbours at distance 0 outvote all others.

    Args:
        train: (N, D) embeddings.
        train_labels: (N,)
        test: (M, D) embeddings.
        test_labels: (M,)
        k: Number of neighbours in [1, N].

    Raises:
        ValueError: ``k`` is out of range, or the array shapes do not match (scikit-learn's
            message).
    """
    from sklearn.neighbors import KNeighborsClassifier

    voters = KNeighborsClassifier(k, weights="distance", algorithm="brute", metric="cosine")
    voters.fit(train, train_labels)
    return float(100 * (voters.predict(test) == test_labels).mean())


def silhouette(embeddings: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Compute the mean silhouette (Rousseeuw 1987) of the classes, by cosine distance.

    Args:
        embeddings: (N, D)
        labels: (N,), with at least 2 and at most N - 1 classes.

    Returns:
        Mean over videos, in [-1, 1], of (b - a) / max(a, b), with a the mean distance to the
        video's own class and b the mean distance to the nearest other class.

    Raises:
        ValueError: Too few or too many classes (scikit-learn's message).
    """
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(embeddings, labels, metric="cosine"))


def tsne_points(
    embeddings: NDArray[np.floating], *, perplexity: float = 30.0, seed: int
) -> NDArray[np.float64]:
    """Compute a t-SNE map of the embeddings (van der Maaten and Hinton 2008).

    It starts from the first two principal components. The same input and seed give the same map
    with the same version of scikit-learn on the same machine. Distances between clusters have no
    meaning.

    Args:
        embeddings: (N, D), D > 1.
        perplexity: Approximate number of near neighbours, > 0 and < N. Use the same value for maps
            that are compared.
        seed: Seed of the approximate principal components.

    Returns:
        (N, 2), without unit.

    Raises:
        ValueError: ``perplexity`` is not below N (scikit-learn's message).
    """
    from sklearn.manifold import TSNE

    tsne = TSNE(perplexity=perplexity, metric="cosine", init="pca", random_state=seed)
    return np.asarray(tsne.fit_transform(embeddings), np.float64)
