"""Accuracies from video-level scores: pure functions of arrays."""

import numpy as np
from numpy.typing import NDArray


def fuse_views(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Average the softmax over views.

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
    """Return the percentage of rows whose label is among the ``k`` highest scores.

    Ties count against the label, so that a constant score is not right by the order of classes.

    Args:
        probs: (N, K) scores, N > 0.
        labels: (N,) in [0, K).
        k: >= 1; with k >= K the result is 100.
    """
    own = probs[np.arange(len(labels)), labels]
    # The label itself is among those at least as high as it.
    rank = (probs >= own[:, None]).sum(axis=1)
    return float(100 * (rank <= k).mean()) if k < probs.shape[1] else 100.0


def mean_class_accuracy(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean over the classes that occur of the class's top-1 accuracy, in percent."""
    matrix = confusion_matrix(probs.argmax(axis=1), labels, probs.shape[1])
    counts = matrix.sum(axis=1)
    return float(100 * (np.diag(matrix)[counts > 0] / counts[counts > 0]).mean())


def confusion_matrix(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int
) -> NDArray[np.int64]:
    """Count the pairs (label, predicted class): (K, K), rows are labels."""
    flat = labels * num_classes + predicted
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)
