"""Parameters of an augmentation, sufficient to reproduce its clip."""

from dataclasses import dataclass

from videokd.data.sampling import Box


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
class Augmentation:
    """Parameters that turn decoded frames into a clip, the same for all its frames.

    The parameters do not depend on the size of the clip: one augmentation serves several sizes.

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
