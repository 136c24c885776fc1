"""Predicted class of each video, the input of the paired comparisons."""

import numpy as np
from numpy.typing import NDArray


def decide(probs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the class with the highest score, or -1 for a tie at the top or a NaN score.

    ``decide(probs) == labels`` agrees with ``top_k_accuracy``: a video with a tie or a NaN score is
    never right.

    Args:
        probs: (N, K) scores, K > 1.

    Returns:
        (N,) in [-1, K).
    """
    highest = probs.max(axis=1, keepdims=True)
    # NaN equals nothing, itself included, so a row with NaN has no highest class.
    is_decided = (probs == highest).sum(axis=1) == 1
    return np.where(is_decided, probs.argmax(axis=1), -1)
