"""Adaptation of a pretrained tensor to the shape of the network's tensor."""

import re
from typing import NamedTuple

from torch import Tensor

from videokd.models.weights.positions import Clip, resample_positions


class Adapted(NamedTuple):
    """Tensor in its new shape."""

    value: Tensor
    how: str
    """Short description of the change, for the report."""


def adapt(
    name: str,
    value: Tensor,
    shape: tuple[int, ...],
    *,
    patch: tuple[int, ...] = (),
    clip: Clip | None = None,
    trained_clip: Clip | None = None,
) -> Adapted | None:
    """Return a tensor adapted to another shape, or None if no rule applies.

    - Shapes that differ by trailing ones (a linear layer and a 1x1x1 convolution): reshaped.
    - Kernels (O, I, h, w) -> (O, I, t, h, w): repeated t times and divided by t, so that a clip of
      equal frames gives the output of one frame (inflation, Carreira and Zisserman 2017, section
      2.2). Kernels t -> 1: summed over t, which gives the same output for a clip of equal frames.
    - First-layer kernels with a number of input channels other than 3: the mean over them for each
      of the three, scaled so that equal channels give the same output.
    - Position embeddings: see ``positions``.

    Args:
        name: Name in the network; identifies position embeddings.
        value: Tensor of any float dtype.
        shape: Shape in the network.
        patch: Kernel of the network's first layer, (t, h, w) or (h, w), for position embeddings.
        clip: Clip size of the network, if known.
        trained_clip: Clip size that the weights were probably trained on.
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
    """Return the last part of a dotted name: "timesformer.positions" -> "positions"."""
    *_, last = name.removesuffix(".weight").split(".")
    return last


def _without_last_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    size = len(shape)
    while size and shape[size - 1] == 1:
        size -= 1
    return tuple(shape[:size])
