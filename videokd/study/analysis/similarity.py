"""Similarity of the embeddings of two networks, independent of their widths and axes."""

import numpy as np
from numpy.typing import NDArray


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
