"""Rasterisation of capsules (thick anti-aliased segments) into a stack of frames.

Coverage of a capsule is computed for all frames at once, inside its bounding box, and blended with
integers. Painting takes a few milliseconds per clip.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Coverage has 7 bits: (255 - 0) * 128 is the largest product that fits into int16.
_COVERAGE_BITS = 7


@dataclass(frozen=True, slots=True)
class Capsule:
    """Moving segment with round ends.

    Attributes:
        start: (T, 2) x, y of one end, in pixels.
        end: (T, 2) x, y of the other end; equal to `start` for a disc.
        radius_px: Half the thickness.
        colour: (3,) RGB in 0..255.
        shading: 0.0 paints flat; 0.4 darkens the rim by 40 %.
    """

    start: NDArray[np.float32]
    end: NDArray[np.float32]
    radius_px: float
    colour: NDArray[np.float32]
    shading: float = 0.0


def paint(frames: NDArray[np.uint8], capsule: Capsule) -> None:
    """Paint one capsule over all frames, in place.

    Args:
        frames: (T, 3, H, W) RGB.
        capsule: Capsule to paint; parts outside the frame are clipped.
    """
    corner = np.floor(np.minimum(capsule.start, capsule.end) - capsule.radius_px - 1)
    far_corner = np.ceil(np.maximum(capsule.start, capsule.end) + capsule.radius_px + 1)
    width, height = (far_corner - corner).max(axis=0).astype(int) + 1
    distance = _distance(capsule.start - corner, capsule.end - corner, (height, width))
    coverage = np.clip(capsule.radius_px + 0.5 - distance, 0.0, 1.0) * (1 << _COVERAGE_BITS)
    rim = np.minimum(distance / capsule.radius_px, 1.0)
    light = 1.0 - capsule.shading * rim
    weight = np.rint(coverage).astype(np.int16)
    colour = (light[:, None] * capsule.colour[:, None, None]).astype(np.int16)
    _blend(frames, colour, weight, corner.astype(int))


def _distance(
    start: NDArray[np.float32], end: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the (T, h, w) distances of the boxes' pixels to the segments, in pixels."""
    height, width = size
    x = np.arange(width, dtype=np.float32)[None, None, :] - start[:, 0, None, None]
    y = np.arange(height, dtype=np.float32)[None, :, None] - start[:, 1, None, None]
    dx, dy = (end - start).T.astype(np.float32)[..., None, None]
    along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy + 1e-6), 0.0, 1.0)
    return np.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2)


def _blend(
    frames: NDArray[np.uint8],
    colour: NDArray[np.int16],
    coverage: NDArray[np.int16],
    corner: NDArray[np.int_],
) -> None:
    """Blend (T, 3, h, w) colours into the frames at (T, 2) x, y corners."""
    frame_height, frame_width = frames.shape[2:]
    height, width = coverage.shape[1:]
    for t, (x, y) in enumerate(corner):
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, frame_width), min(y + height, frame_height)
        if right <= left or bottom <= top:
            continue
        box = (slice(top - y, bottom - y), slice(left - x, right - x))
        region = frames[t, :, top:bottom, left:right]
        old = region.astype(np.int16)
        change = (colour[t][:, box[0], box[1]] - old) * coverage[t][box]
        region[...] = old + (change >> _COVERAGE_BITS)
