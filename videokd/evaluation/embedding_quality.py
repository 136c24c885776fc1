"""What the embeddings alone know of the classes: neighbours, separation, a picture.

Cosine distance throughout, since the length of an embedding says little about its class. All of
it is scikit-learn's, with the choices that a number depends on made here.
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
    """Return the percentage of test videos that their nearest training videos classify rightly.

    The ``k`` neighbours vote with weight 1 / cosine distance, so that few votes seldom tie;
    neighbours at distance 0 outvote all others.

    Args:
        train: (N, D) embeddings.
        train_labels: (N,)
        test: (M, D) embeddings.
        test_labels: (M,)
        k: In [1, N].

    Raises:
        ValueError: ``k`` is out of range, or the arrays do not fit (scikit-learn's message).
    """
    from sklearn.neighbors import KNeighborsClassifier

    voters = KNeighborsClassifier(k, weights="distance", algorithm="brute", metric="cosine")
    voters.fit(train, train_labels)
    return float(100 * (voters.predict(test) == test_labels).mean())


def silhouette(embeddings: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the mean silhouette (Rousseeuw 1987) of the classes, by cosine distance.

    Args:
        embeddings: (N, D)
        labels: (N,), of at least 2 and at most N - 1 classes.

    Returns:
        In [-1, 1]: the mean over videos of (b - a) / max(a, b), with a the mean distance to the
        video's own class and b that to the nearest other class.

    Raises:
        ValueError: Too few or too many classes (scikit-learn's message).
    """
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(embeddings, labels, metric="cosine"))


def tsne_points(
    embeddings: NDArray[np.floating], *, perplexity: float = 30.0, seed: int
) -> NDArray[np.float64]:
    """Place the embeddings in the plane by t-SNE (van der Maaten and Hinton 2008).

    Starts from the two principal components. The same input and seed give the same picture with
    the same version of scikit-learn on the same machine. Distances between clusters mean nothing.

    Args:
        embeddings: (N, D), D > 1.
        perplexity: > 0 and < N: about how many neighbours count as near. The same for all
            pictures that are to be compared.
        seed: Of the approximate principal components.

    Returns:
        (N, 2), of no unit.

    Raises:
        ValueError: ``perplexity`` is not below N (scikit-learn's message).
    """
    from sklearn.manifold import TSNE

    tsne = TSNE(perplexity=perplexity, metric="cosine", init="pca", random_state=seed)
    return np.asarray(tsne.fit_transform(embeddings), np.float64)
