"""The class that a model names for each video: what the paired comparisons start from."""

import numpy as np
from numpy.typing import NDArray


def decide(probs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the class with the highest score, or -1 where no class is alone at the top.

    ``decide(probs) == labels`` says which videos are right by the rule of ``top_k_accuracy``: a
    tie, or a score that is not a number, is never right.

    Args:
        probs: (N, K) scores, K > 1.

    Returns:
        (N,) in [-1, K).
    """
    highest = probs.max(axis=1, keepdims=True)
    # NaN equals nothing, itself included, so such a row has no class at the top.
    is_decided = (probs == highest).sum(axis=1) == 1
    return np.where(is_decided, probs.argmax(axis=1), -1)
