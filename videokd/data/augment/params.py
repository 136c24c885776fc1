"""Parameters of a view, sufficient to reproduce its clip."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from videokd.data.sampling import Box
from videokd.utils.errors import InputError


@dataclass(frozen=True, slots=True)
class Erasing:
    """A box of one colour in all frames of a clip.

    Args:
        box: (top, left, height, width) as shares of the clip's height and width, in [0, 1].
        fill: Red, green and blue, 0 .. 255.
    """

    box: tuple[float, float, float, float]
    fill: tuple[int, int, int]

    def pixels(self, height: int, width: int) -> Box:
        """Return the box in pixels of a clip of this size, edges rounded to the nearest pixel."""
        top, left = round(self.box[0] * height), round(self.box[1] * width)
        bottom = round((self.box[0] + self.box[2]) * height)
        right = round((self.box[1] + self.box[3]) * width)
        return top, left, bottom - top, right - left


@dataclass(frozen=True, slots=True)
class ViewParams:
    """Parameters that turn decoded frames into a clip, the same for all its frames.

    The parameters do not depend on the size of the clip: a view can be cut at several sizes.

    Args:
        crop: (top, left, height, width) in pixels of the decoded frame.
        flip: Whether the clip is mirrored left to right.
        brightness: Factor on the pixel values; 1.0 keeps them.
        contrast: Factor on the distance to the mean value of the clip; 1.0 keeps it.
        saturation: Factor on the distance to the grey of the same lightness; 1.0 keeps it.
        ops: Names and values of RandAugment's operations, in order; see `rand_augment`.
        erasings: Boxes that are painted over the clip, in order.
    """

    crop: Box
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    ops: tuple[tuple[str, float], ...] = ()
    erasings: tuple[Erasing, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the view as plain JSON values, which restore it exactly."""
        return {
            "crop": list(self.crop),
            "flip": self.flip,
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
            "ops": [list(op) for op in self.ops],
            "erasings": [{"box": list(e.box), "fill": list(e.fill)} for e in self.erasings],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ViewParams":
        """Build a view from the values of `to_dict`.

        Raises:
            InputError: the keys are not the fields of a view.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise InputError(
                f"a view has {', '.join(sorted(names))}, got {', '.join(sorted(values)) or 'none'}"
            )
        top, left, height, width = values["crop"]
        return cls(
            (top, left, height, width),
            flip=values["flip"],
            brightness=values["brightness"],
            contrast=values["contrast"],
            saturation=values["saturation"],
            ops=tuple((name, value) for name, value in values["ops"]),
            erasings=tuple(Erasing(tuple(e["box"]), tuple(e["fill"])) for e in values["erasings"]),
        )
