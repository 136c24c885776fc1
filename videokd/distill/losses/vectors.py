"""Unit vectors with a bounded gradient: what every loss that compares directions rests on."""

from torch import Tensor

EPS = 1e-8
"""Added to squared lengths: a vector much shorter than 1e-4 counts as having no direction."""


def unit(vectors: Tensor, *, dim: int) -> Tensor:
    """Return v / sqrt(|v|^2 + 1e-8) for the vectors v along ``dim``, in the shape and dtype given.

    The zero vector stays zero and its gradient is at most 1e4. A plain v / |v| has none there and
    an unbounded one beside it, where an untrained head or a dead channel puts the student.
    """
    return vectors * (vectors.square().sum(dim, keepdim=True) + EPS).rsqrt()
