"""Whether a model's probabilities can be taken at their word."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videokd.evaluation.decisions import decide


@dataclass(frozen=True)
class Reliability:
    """The reliability diagram as a table: M bins of the highest probability."""

    edges: NDArray[np.float64]
    """(M + 1,) from 0 to 1. A bin holds its upper edge, not its lower one."""
    num_videos: NDArray[np.int64]
    """(M,)"""
    confidence: NDArray[np.float64]
    """(M,) mean of the highest probability, in percent; nan in an empty bin."""
    accuracy: NDArray[np.float64]
    """(M,) top-1, in percent; nan in an empty bin."""


def reliability(
    probs: NDArray[np.float64], labels: NDArray[np.int64], *, num_bins: int = 15
) -> Reliability:
    """Sort the videos by the highest probability into bins of equal width.

    Args:
        probs: (N, K) probabilities; a tie for the highest counts as wrong.
        labels: (N,) in [0, K).
        num_bins: M >= 1.
    """
    confidence = probs.max(axis=1)
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.searchsorted(edges[1:-1], confidence, side="left")
    num_videos = np.bincount(bins, minlength=num_bins)

    def bin_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.bincount(bins, values, minlength=num_bins)
        means = np.full(num_bins, np.nan)
        return np.divide(100 * sums, num_videos, out=means, where=num_videos > 0)

    is_right = (decide(probs) == labels).astype(np.float64)
    return Reliability(edges, num_videos, bin_means(confidence), bin_means(is_right))


def expected_calibration_error(
    probs: NDArray[np.float64], labels: NDArray[np.int64], *, num_bins: int = 15
) -> float:
    """Return the expected calibration error (Guo et al. 2017), in percentage points.

    The mean over bins, weighted by their videos, of abs(accuracy - confidence). It depends on the
    number of bins, and with few videos it is above 0 for a calibrated model too: compare only
    values from the same number of bins and of videos.

    Args:
        probs: (N, K) probabilities, N > 0; a tie for the highest counts as wrong.
        labels: (N,) in [0, K).
        num_bins: Bins of equal width, >= 1.
    """
    table = reliability(probs, labels, num_bins=num_bins)
    is_used = table.num_videos > 0
    gaps = np.abs(table.accuracy - table.confidence)[is_used]
    return float(np.average(gaps, weights=table.num_videos[is_used]))


def negative_log_likelihood(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean of -log of the label's probability, in nats; inf where one is 0.

    Args:
        probs: (N, K) probabilities, N > 0.
        labels: (N,) in [0, K).
    """
    own = probs[np.arange(len(labels)), labels]
    with np.errstate(divide="ignore"):
        return float(-np.log(own).mean())


def brier_score(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean over videos of the squared distance to the one-hot label.

    Summed over the K classes (Brier 1950), so in [0, 2]; some halve it, or divide by K.

    Args:
        probs: (N, K) probabilities, N > 0.
        labels: (N,) in [0, K).
    """
    target = np.eye(probs.shape[1])[labels]
    return float(((probs - target) ** 2).sum(axis=1).mean())
