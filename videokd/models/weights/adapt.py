"""One tensor of another shape -> the shape that the network has, where it is known how."""

import re
from typing import NamedTuple

from torch import Tensor

from videokd.models.weights.positions import Clip, resample_positions


class Adapted(NamedTuple):
    """A tensor in its new shape."""

    value: Tensor
    how: str
    """In a few words, for the report."""


def adapt(
    name: str,
    value: Tensor,
    shape: tuple[int, ...],
    *,
    patch: tuple[int, ...] = (),
    clip: Clip | None = None,
    trained_clip: Clip | None = None,
) -> Adapted | None:
    """Return a tensor in another shape, or None where nothing is known to do.

    - Shapes that differ by ones at the end (a linear layer and a convolution of one position).
    - Kernels (O, I, h, w) -> (O, I, t, h, w): repeated over t and divided by it, so that a clip of
      equal frames gives what one frame gave (inflation, Carreira and Zisserman 2017, section 2.2);
      and t -> 1: summed over it, which is the same for a clip of equal frames.
    - Kernels of the first layer with another number of colours: their mean over them for each of
      the three, scaled so that equal channels give what they gave.
    - Tables of positions, see ``positions``.

    Args:
        name: In the network; tables of positions are known by theirs.
        value: Any float dtype.
        shape: What the network has.
        patch: Kernel of the network's first layer, (t, h, w) or (h, w), for tables of positions.
        clip: What the network is built for, where that is known.
        trained_clip: What the weights were probably trained on.
    """
    if _without_last_ones(value.shape) == _without_last_ones(shape):
        return Adapted(value.reshape(shape), "reshaped")
    own_name = _own_name(name)
    if value.ndim < 4 and re.search("pos|time", own_name):
        resampled = resample_positions(
            own_name, value, shape, patch=patch, clip=clip, trained_clip=trained_clip
        )
        return None if resampled is None else Adapted(*resampled)
    if value.ndim in (4, 5) and len(shape) == 5:
        return _adapt_kernel(value, shape)
    return None


def _adapt_kernel(value: Tensor, shape: tuple[int, ...]) -> Adapted | None:
    steps = []
    if value.ndim == 4:
        value = value.unsqueeze(2)
    _, channels, time = shape[:3]
    if value.shape[1] != channels == 3:
        steps.append(f"{value.shape[1]} channels to 3")
        value = value.mean(1, keepdim=True) * (value.shape[1] / 3)
        value = value.repeat(1, 3, 1, 1, 1)
    if value.shape[2] == 1 < time:
        steps.append("inflated")
        value = value.repeat(1, 1, time, 1, 1) / time
    elif value.shape[2] > time == 1:
        steps.append("summed over time")
        value = value.sum(2, keepdim=True)
    if tuple(value.shape) != shape:
        return None
    return Adapted(value, ", ".join(steps) or "inflated")


def _own_name(name: str) -> str:
    """Return what a tensor is called, without what it is in: timesformer.positions -> positions."""
    *_, last = name.removesuffix(".weight").split(".")
    return last


def _without_last_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    size = len(shape)
    while size and shape[size - 1] == 1:
        size -= 1
    return tuple(shape[:size])
