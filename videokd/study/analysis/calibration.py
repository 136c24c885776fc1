"""Calibration of a model's probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videokd.study.analysis.predictions import decide


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram as a table: M bins of the highest probability."""

    edges: NDArray[np.float64]
    """(M + 1,) from 0 to 1. A bin includes its upper edge and excludes its lower one."""
    num_videos: NDArray[np.int64]
    """(M,)"""
    confidence: NDArray[np.float64]
    """(M,) mean of the highest probability, in percent; nan in an empty bin."""
    accuracy: NDArray[np.float64]
    """(M,) top-1, in percent; nan in an empty bin."""


def reliability(
    probs: NDArray[np.float64], labels: NDArray[np.int64], *, num_bins: int = 15
) -> Reliability:
    """Compute the reliability table: videos binned by highest probability, in bins of equal width.

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
    """Compute the expected calibration error (Guo et al. 2017), in percentage points.

    It is the mean over bins of abs(accuracy - confidence), weighted by their numbers of videos. It
    depends on the number of bins, and with few videos it is above 0 even for a calibrated model.
    Compare only values with the same number of bins and of videos.

    Args:
        probs: (N, K) probabilities, N > 0; a tie for the highest counts as wrong.
        labels: (N,) in [0, K).
        num_bins: Number of bins of equal width, >= 1.
    """
    table = reliability(probs, labels, num_bins=num_bins)
    is_used = table.num_videos > 0
    gaps = np.abs(table.accuracy - table.confidence)[is_used]
    return float(np.average(gaps, weights=table.num_videos[is_used]))


def negative_log_likelihood(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Compute the mean of -log of the label's probability, in nats; inf if one is 0.

    Args:
        probs: (N, K) probabilities, N > 0.
        labels: (N,) in [0, K).
    """
    own = probs[np.arange(len(labels)), labels]
    with np.errstate(divide="ignore"):
        return float(-np.log(own).mean())
