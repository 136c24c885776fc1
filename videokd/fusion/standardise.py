"""Standardisation of features by running statistics, without parameters.

The modules bring features of different networks to one scale: the inputs from the experts, and the
targets of feature losses. They map (B, C, ...) to float32 (B, C, ...) and compute the statistics of
each channel over all other axes. Gradients flow to the input but not through the statistics. Call
them outside autocast. With several ranks, the statistics cover the clips of all ranks, and all
ranks must call ``forward`` together.
"""

import math

import torch
from torch import Tensor, nn

from videokd.utils.ranks import broadcast_from_first, num_ranks, sum_over_ranks


class RunningStandardiser(nn.Module):
    """Standardisation of each channel by its running mean and running standard deviation.

    In training mode each batch first updates the statistics: with weight 1/n for the n-th batch, so
    that the first initialises them, but at least ``momentum``. The batch is then normalised by the
    running statistics, not by its own, as in evaluation. Initially mean and variance are 0 and 1.

    Args:
        channels: C.
        momentum: Smallest weight of a new batch, in (0, 1].
        eps: Value added to the variance.
    """

    mean: Tensor
    var: Tensor
    num_batches: Tensor

    def __init__(self, channels: int, *, momentum: float = 0.01, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.int64))

    def forward(self, feature: Tensor) -> Tensor:
        """Standardise features (B, C, ...) of any float dtype."""
        feature = feature.float()
        if self.training:
            self._update(feature.detach())
        return (feature - _align(self.mean, feature)) / _align(self._std(), feature)

    def inverse(self, standardised: Tensor) -> Tensor:
        """Undo ``forward`` with the current statistics: (B, C, ...) to float32 (B, C, ...)."""
        return standardised * _align(self._std(), standardised) + _align(self.mean, standardised)

    def _update(self, feature: Tensor) -> None:
        flat = feature.transpose(0, 1).flatten(1)
        if num_ranks() == 1:
            var, mean = torch.var_mean(flat, dim=1, correction=0)
        else:
            count, mean = _count_and_mean(flat)
            var = sum_over_ranks(((flat - mean[:, None]) ** 2).sum(dim=1)) / count
        self.num_batches += 1
        weight = (1.0 / self.num_batches).clamp(min=self.momentum)
        # Variance of a mixture: the variance within its parts plus that between their means.
        self.var.lerp_(var + (1 - weight) * (mean - self.mean) ** 2, weight)
        self.mean.lerp_(mean, weight)

    def _std(self) -> Tensor:
        return (self.var + self.eps).sqrt()


class PhiStandardiser(nn.Module):
    """PHI-S standardisation (Ranzinger et al. 2024, arXiv 2410.01680): a rotation and one scale.

    y = R (x - mean) / sqrt(trace(Sigma) / C), where the orthogonal R of ``equalising_rotation``
    gives every channel of y the variance 1. Unlike dividing each channel by its own deviation, this
    keeps the features' geometry: all distances change by one scale, and angles do not change.

    The first ``num_calibration`` batches in training mode, equally weighted, estimate mean and
    Sigma; until then R is the identity. Then R is computed once and all values stay fixed: a
    student of y sees one change of basis, when calibration ends. Before any batch, mean is 0 and
    Sigma the identity.

    Args:
        channels: C.
        num_calibration: Number of batches for the statistics, > 0.
        eps: Value added to the mean variance.
    """

    mean: Tensor
    covariance: Tensor
    rotation: Tensor
    num_batches: Tensor
    """Number of batches in the statistics; restored with them when a step is skipped."""

    def __init__(self, channels: int, *, num_calibration: int = 100, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_calibration = num_calibration
        self.eps = eps
        # Number of batches seen, skipped ones included. A host integer tells the end of calibration
        # without waiting for the device.
        self._num_met = 0
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("covariance", torch.eye(channels))
        self.register_buffer("rotation", torch.eye(channels))
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.int64))

    @property
    def is_calibrated(self) -> bool:
        """Whether the statistics and the rotation are final."""
        return self._num_met >= self.num_calibration

    def forward(self, feature: Tensor) -> Tensor:
        """Standardise features (B, C, ...) of any float dtype."""
        feature = feature.float()
        if self.training and not self.is_calibrated:
            self._update(feature.detach())
        return _rotate(self.rotation, feature - _align(self.mean, feature)) / self._scale()

    def inverse(self, standardised: Tensor) -> Tensor:
        """Undo ``forward`` with the current statistics: (B, C, ...) to float32 (B, C, ...)."""
        centred = _rotate(self.rotation.T, standardised * self._scale())
        return centred + _align(self.mean, centred)

    def get_extra_state(self) -> Tensor:
        """Return the number of batches seen, for ``state_dict()``."""
        return torch.tensor(self._num_met)

    def set_extra_state(self, state: Tensor) -> None:
        """Load the number of batches seen."""
        self._num_met = int(state)

    def _update(self, feature: Tensor) -> None:
        flat = feature.transpose(0, 1).flatten(1)
        count, mean = _count_and_mean(flat)
        centred = (flat - mean[:, None]).double()  # TF32 would round float32 products
        self._num_met += 1
        self.num_batches += 1
        weight = 1.0 / self.num_batches
        within = sum_over_ranks(centred @ centred.T) / count
        between = (1 - weight) * torch.outer(mean - self.mean, mean - self.mean)
        self.covariance.lerp_(within.to(between) + between, weight)
        self.mean.lerp_(mean, weight)
        if self.is_calibrated and not torch.isfinite(self.covariance).all():
            # A non-finite covariance has no rotation. The step is skipped and its statistics are
            # restored, so that calibration ends with the next batch.
            self._num_met -= 1
        elif self.is_calibrated:
            # A new tensor, because the graph of an earlier forward may hold the old one. All ranks
            # take rank 0's, because eigenvectors may differ between processors.
            self.rotation = broadcast_from_first(equalising_rotation(self.covariance))

    def _scale(self) -> Tensor:
        return (self.covariance.diagonal().mean() + self.eps).sqrt()


def equalising_rotation(covariance: Tensor) -> Tensor:
    """Return an orthogonal R that makes all variances in R Sigma R^T equal trace(Sigma) / C.

    R = G Q U^T with Sigma = U Lambda U^T. Q spreads the eigenvectors over all channels. If C is a
    power of two, Q is a Hadamard matrix, as in PHI-S, which makes the variances equal by itself.
    For other C no such real matrix may exist; Q is then the Hartley matrix, which makes the
    variances nearly equal, and the plane rotations of G (at most C - 1, Bendel and Mickey 1978)
    make them exactly equal.

    Args:
        covariance: Sigma (C, C), symmetric.

    Returns:
        (C, C), with the dtype and device of ``covariance``; computed in float64 on the CPU, which
        waits for the device.
    """
    sigma = covariance.double().cpu()
    rotation = _spread(len(sigma)) @ torch.linalg.eigh(sigma).eigenvectors.T
    rotated = rotation @ sigma @ rotation.T
    target = rotated.diagonal().mean().item()
    for _ in range(len(sigma) - 1):
        diagonal = rotated.diagonal()
        pair = [int(diagonal.argmin()), int(diagonal.argmax())]
        if float(diagonal[pair[1]] - diagonal[pair[0]]) <= 1e-9 * target:
            break
        plane = _bring_first_to(target, rotated[pair][:, pair])
        rotated[pair] = plane @ rotated[pair]
        rotated[:, pair] = rotated[:, pair] @ plane.T
        rotation[pair] = plane @ rotation[pair]
    return rotation.to(covariance)


def _bring_first_to(target: float, block: Tensor) -> Tensor:
    """Return the smallest plane rotation P for which (P block P^T)[0, 0] is ``target``.

    ``block`` (2, 2) is symmetric, and block[0, 0] < target < block[1, 1].
    """
    low, high = float(block[0, 0]) - target, float(block[1, 1]) - target
    off = float(block[0, 1])
    # P = [[c, s], [-s, c]]: the tangent t = s / c solves high t^2 + 2 off t + low = 0.
    tangent = low / -(off + math.copysign(math.sqrt(off**2 - low * high), off))
    cos = 1 / math.hypot(1, tangent)
    sin = cos * tangent
    return torch.tensor([[cos, sin], [-sin, cos]], dtype=block.dtype)


def _count_and_mean(flat: Tensor) -> tuple[Tensor | int, Tensor]:
    """Return the number of columns N and the row means of (C, N), over all ranks."""
    if num_ranks() == 1:
        return flat.shape[1], flat.mean(dim=1)
    count = sum_over_ranks(flat.new_full((), flat.shape[1]))
    return count, sum_over_ranks(flat.sum(dim=1)) / count


def _spread(size: int) -> Tensor:
    """Return an orthogonal float64 matrix (Hadamard or Hartley) with entries of similar size."""
    if size & (size - 1) == 0:
        matrix = torch.ones(1, 1, dtype=torch.float64)
        while len(matrix) < size:
            matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double(), matrix)
    else:
        index = torch.arange(size, dtype=torch.float64)
        angles = torch.outer(index, index) * (2 * math.pi / size)
        matrix = angles.cos() + angles.sin()
    return matrix / math.sqrt(size)


def _rotate(rotation: Tensor, feature: Tensor) -> Tensor:
    return torch.einsum("oc,bc...->bo...", rotation, feature)


def _align(values: Tensor, feature: Tensor) -> Tensor:
    """Reshape values (C,) to broadcast over features (B, C, ...)."""
    return values.view(-1, *(1,) * (feature.ndim - 2))
