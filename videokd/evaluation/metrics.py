"""Accuracies from video-level scores: pure functions of arrays."""

import numpy as np
from numpy.typing import NDArray


def fuse_views(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the mean of the softmax over views.

    Args:
        logits: (N, V, K).

    Returns:
        Probabilities (N, K), rows sum to 1.
    """
    shifted = logits.astype(np.float64)
    shifted = shifted - shifted.max(axis=2, keepdims=True)
    probs = np.exp(shifted)
    return (probs / probs.sum(axis=2, keepdims=True)).mean(axis=1)


def top_k_accuracy(probs: NDArray[np.float64], labels: NDArray[np.int64], k: int) -> float:
    """Compute the percentage of rows whose label is among the ``k`` highest scores.

    Ties and NaN scores count against the label, so that a constant score is not right by the order
    of the classes.

    Args:
        probs: (N, K) scores, N > 0.
        labels: (N,) in [0, K).
        k: >= 1; with k >= K the result is 100.
    """
    return float(100 * (_label_ranks(probs, labels) <= k).mean()) if k < probs.shape[1] else 100.0


def mean_class_accuracy(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Compute the mean top-1 accuracy over the classes that occur, in percent.

    Args:
        probs: (N, K) scores, N > 0; ties count against the label.
        labels: (N,) in [0, K).
    """
    is_right = _label_ranks(probs, labels) == 1
    return float(100 * np.mean([is_right[labels == label].mean() for label in np.unique(labels)]))


def confusion_matrix(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """Count the pairs (label, predicted class) as a (K, K) matrix whose rows are labels."""
    flat = labels * num_classes + predicted
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


def _label_ranks(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank (N,) of each label's score: 1 + the number of other scores not below."""
    own = probs[np.arange(len(labels)), labels]
    # ``>=`` would be False for NaN. The count includes the label itself.
    return (~(probs < own[:, None])).sum(axis=1)
