"""Class structure of embeddings (nearest neighbours, t-SNE), and similarity of two.

The class structure uses the cosine distance, because the length of an embedding says little about
its class. It calls scikit-learn and fixes the options that the results depend on.
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


def linear_cka(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Compute linear centred kernel alignment with the unbiased estimator of HSIC.

    With the Gram matrices K = x x' and L = y y', CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))
    (Kornblith et al. 2019), with HSIC as in Song et al. 2012 (used like this by Nguyen et al.
    2021). That estimator is the inner product of the two U-centred matrices (Szekely and Rizzo
    2014) over N (N - 3), which cancels. The usual biased estimator tends to 1 for unrelated
    embeddings wider than N; this one stays near 0, and may be slightly negative.

    Memory: two (N, N) matrices of float64.

    Args:
        x: (N, D1); row n belongs to the same video as row n of ``y``.
        y: (N, D2).

    Returns:
        Alignment in [-1, 1]: 1 if ``y`` is ``x`` rotated, shifted and scaled by one factor; nan if
        ``x`` or ``y`` is the same for all videos.

    Raises:
        ValueError: Not two matrices with the same number of rows, or fewer than 4 rows.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 4:
        raise ValueError(
            f"embeddings must be (N, D1) and (N, D2) with N >= 4, got {x.shape} and {y.shape}"
        )
    gram_x, gram_y = _u_centred_gram(x), _u_centred_gram(y)
    norms = np.linalg.norm(gram_x) * np.linalg.norm(gram_y)
    return float(np.vdot(gram_x, gram_y) / norms) if norms else float("nan")


def _u_centred_gram(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Gram matrix with a zero diagonal and rows that sum to zero: (N, N)."""
    num = len(features)
    # This changes only the rounding, because U-centring removes a common offset. Subtracting row 0,
    # unlike the mean, gives exact zeros if all rows are equal.
    shifted = features.astype(np.float64) - features[0]
    gram = shifted @ shifted.T
    np.fill_diagonal(gram, 0)
    rows = gram.sum(axis=1) / (num - 2)
    gram += rows.sum() / (num - 1) - rows[:, None] - rows[None, :]
    np.fill_diagonal(gram, 0)
    return gram
