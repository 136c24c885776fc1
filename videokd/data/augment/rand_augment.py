"""RandAugment (Cubuk et al. 2020) for clips: a few random operations of one strength.

Operations, ranges and pixel values are those of torchvision's RandAugment. Parameters are drawn
here, so that they can be stored and replayed. All frames of a clip are treated alike: image
statistics (contrast, autocontrast, equalize) are computed over the whole clip to avoid flicker.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from videokd.utils.errors import InputError

MAX_MAGNITUDE = 10.0
_FILL = 128.0
_WARPS = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


def _signed(limit: float) -> Callable[[float, float], float]:
    return lambda level, sign: sign * limit * level


def _factor(level: float, sign: float) -> float:
    return 1.0 + sign * 0.9 * level


def _nothing(level: float, sign: float) -> float:
    return 0.0


# Name -> (level in [0, 1], sign of -1 or 1) -> value.
_VALUES: dict[str, Callable[[float, float], float]] = {
    "identity": _nothing,
    "shear_x": _signed(0.3),  # tangent of the angle
    "shear_y": _signed(0.3),
    "translate_x": _signed(150 / 331),  # share of the width
    "translate_y": _signed(150 / 331),  # share of the height
    "rotate": _signed(30.0),  # degrees, counter-clockwise
    "brightness": _factor,
    "color": _factor,
    "contrast": _factor,
    "sharpness": _factor,
    "posterize": lambda level, sign: float(8 - round(4 * level)),  # bits kept
    "solarize": lambda level, sign: 255.0 * (1.0 - level),  # values from here on are inverted
    "autocontrast": _nothing,
    "equalize": _nothing,
}
OPS = tuple(_VALUES)


@dataclass(frozen=True, slots=True)
class RandAugment:
    """Distribution of operations, drawn uniformly with replacement from the 14 in OPS.

    Args:
        num_ops: Operations on a clip, > 0.
        magnitude: Strength of the operations, 0.0 .. 10.0; directions are random.
        magnitude_std: Standard deviation of normal noise added to the magnitude of each operation,
            which is clipped to 0 .. 10; >= 0.0. (timm's `mstd`.)

    Raises:
        InputError: a value is not allowed.
    """

    num_ops: int = 2
    magnitude: float = 9.0
    magnitude_std: float = 0.5

    def __post_init__(self) -> None:
        if self.num_ops <= 0:
            raise InputError(f"RandAugment num_ops must be > 0, got {self.num_ops}")
        if not 0.0 <= self.magnitude <= MAX_MAGNITUDE:
            raise InputError(f"RandAugment magnitude must be 0 .. 10, got {self.magnitude}")
        if not 0.0 <= self.magnitude_std < math.inf:
            raise InputError(f"RandAugment magnitude_std must be >= 0, got {self.magnitude_std}")

    def draw(self, rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
        """Draw the names and values of the operations on a clip, in order."""
        ops = []
        for _ in range(self.num_ops):
            name = OPS[rng.integers(len(OPS))]
            sign = -1.0 if rng.random() < 0.5 else 1.0
            magnitude = rng.normal(self.magnitude, self.magnitude_std)
            level = min(max(magnitude, 0.0), MAX_MAGNITUDE) / MAX_MAGNITUDE
            ops.append((name, float(_VALUES[name](level, sign))))
        return tuple(ops)


def apply_op(clip: Tensor, name: str, value: float) -> Tensor:
    """Apply an operation to all frames of a clip.

    Values by name: "shear_x", "shear_y": tangent of the angle, about the top left corner;
    "translate_x", "translate_y": share of the width or height; "rotate": degrees counter-clockwise
    about the centre; "brightness", "color", "contrast", "sharpness": factor, 1.0 keeps the clip;
    "posterize": bits kept; "solarize": the least value that is inverted; 0.0 for the others. Pixels
    from outside the frame are grey (128).

    Args:
        clip: (3, T, H, W) uint8, on any device.
        name: One of OPS.
        value: Its value.

    Returns:
        (3, T, H, W) uint8, on the same device.

    Raises:
        InputError: there is no such operation.
    """
    if name not in _VALUES:
        raise InputError(f"no operation {name!r}; there are {', '.join(OPS)}")
    if name == "identity":
        return clip
    if name in _WARPS:
        # Treat all channels of all frames as channels of one image, so that the sampling grid is
        # computed once.
        return _warp(clip.flatten(0, 1), name, value).view(clip.shape)
    if name == "sharpness":
        return _sharpen(clip.transpose(0, 1), value).transpose(0, 1).contiguous()
    # Stack all frames into one tall image, so that statistics cover the whole clip.
    return _recolor(clip.flatten(1, 2), name, value).view(clip.shape)


def _warp(picture: Tensor, name: str, value: float) -> Tensor:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    options = {"interpolation": InterpolationMode.BILINEAR, "fill": _FILL}
    if name == "rotate":
        return functional.rotate(picture, value, **options)
    height, width = picture.shape[1:]
    is_x = name.endswith("_x")
    translate, shear = [0.0, 0.0], [0.0, 0.0]
    if name.startswith("translate"):
        translate[0 if is_x else 1] = value * (width if is_x else height)
    else:
        shear[0 if is_x else 1] = math.degrees(math.atan(value))
    return functional.affine(
        picture, angle=0.0, translate=translate, scale=1.0, shear=shear, center=[0, 0], **options
    )


def _sharpen(frames: Tensor, factor: float) -> Tensor:
    from torchvision.transforms.v2 import functional

    return functional.adjust_sharpness(frames, factor)


def _recolor(picture: Tensor, name: str, value: float) -> Tensor:
    from torchvision.transforms.v2 import functional

    if name == "brightness":
        return functional.adjust_brightness(picture, value)
    if name == "color":
        return functional.adjust_saturation(picture, value)
    if name == "contrast":
        return functional.adjust_contrast(picture, value)
    if name == "posterize":
        return functional.posterize(picture, int(value))
    if name == "solarize":
        return functional.solarize(picture, value)
    if name == "autocontrast":
        return functional.autocontrast(picture)
    return functional.equalize(picture)
