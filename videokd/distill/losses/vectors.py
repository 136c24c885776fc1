"""Unit vectors with a bounded gradient, used by every loss that compares directions."""

from torch import Tensor

EPS = 1e-8
"""Value added to squared lengths, so that a vector much shorter than 1e-4 has no direction."""


def unit(vectors: Tensor, *, dim: int) -> Tensor:
    """Return v / sqrt(|v|^2 + 1e-8) for vectors v along ``dim``, in the input's shape and dtype.

    The zero vector stays zero, and the gradient is at most 1e4. A plain v / |v| has no gradient at
    zero and an unbounded one near it; an untrained head or a dead channel gives such vectors.
    """
    return vectors * (vectors.square().sum(dim, keepdim=True) + EPS).rsqrt()
