"""Argument checks of the losses, and directions of vectors with a bounded gradient."""

from torch import Tensor

EPS = 1e-8
"""Value added to squared lengths, so that a vector much shorter than 1e-4 has no direction."""


def unit_vectors(vectors: Tensor, *, dim: int) -> Tensor:
    """Return v / sqrt(|v|^2 + 1e-8) for vectors v along ``dim``, in the input's shape and dtype.

    The zero vector stays zero, and the gradient is at most 1e4. A plain v / |v| has no gradient at
    zero and an unbounded one near it; an untrained head or a dead channel gives such vectors.
    """
    return vectors * (vectors.square().sum(dim, keepdim=True) + EPS).rsqrt()


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless ``temperature`` > 0."""
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")


def check_same_shape(student: Tensor, teacher: Tensor) -> None:
    """Raise ValueError unless both tensors have the same shape."""
    if student.shape != teacher.shape:
        raise ValueError(f"student and teacher must have one shape, {_shapes(student, teacher)}")


def check_same_batch(student: Tensor, teacher: Tensor) -> None:
    """Raise ValueError unless both tensors have the same batch size."""
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(
            f"student and teacher must have one batch size, {_shapes(student, teacher)}"
        )


def check_same_grid(student: Tensor, teacher: Tensor) -> None:
    """Raise ValueError unless two maps agree in all axes but C, or two embeddings in all axes."""
    first = 2 if student.ndim == teacher.ndim > 2 else 1
    if len(student) != len(teacher) or student.shape[first:] != teacher.shape[first:]:
        raise ValueError(
            "student and teacher must have one batch size and one grid (embeddings: one D), "
            f"{_shapes(student, teacher)}"
        )


def _shapes(student: Tensor, teacher: Tensor) -> str:
    return f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
