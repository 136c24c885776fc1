"""Argument checks of the losses: shapes that would broadcast to a wrong value, and temperatures."""

from torch import Tensor


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


def check_same_places(student: Tensor, teacher: Tensor) -> None:
    """Raise ValueError unless two maps agree in all axes but C, or two embeddings in all axes."""
    is_map = student.ndim == teacher.ndim > 2
    mine, theirs = ((x.shape[0], *x.shape[2 if is_map else 1 :]) for x in (student, teacher))
    if mine != theirs:
        raise ValueError(
            "student and teacher must have one batch size and one grid (embeddings: one D), "
            f"{_shapes(student, teacher)}"
        )


def _shapes(student: Tensor, teacher: Tensor) -> str:
    return f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
