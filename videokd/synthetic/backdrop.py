"""Background images behind the actor, larger than the frame so that the camera can move."""

import numpy as np
from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX = 128, 96
# Margin of the backdrop around the frame, on each side.
MARGIN_X_PX, MARGIN_Y_PX = 24, 8

FloatImage = NDArray[np.float32]


def _clouds(rng: np.random.Generator, height: int, width: int, *, num_cells: int) -> FloatImage:
    """Return smooth (H, W) noise in 0..1: random values on a grid, interpolated linearly."""
    grid = rng.random((num_cells + 1, num_cells + 1), dtype=np.float32)
    y = np.linspace(0.0, num_cells - 1e-3, height, dtype=np.float32)
    x = np.linspace(0.0, num_cells - 1e-3, width, dtype=np.float32)
    row, column = y.astype(int), x.astype(int)
    down, right = (y - row)[:, None], x - column
    rows = grid[row] * (1.0 - down) + grid[row + 1] * down
    return rows[:, column] * (1.0 - right) + rows[:, column + 1] * right


def _canvas() -> tuple[int, int]:
    return HEIGHT_PX + 2 * MARGIN_Y_PX, WIDTH_PX + 2 * MARGIN_X_PX


def draw_outdoor(rng: np.random.Generator) -> FloatImage:
    """Draw sky over ground with buildings on the horizon."""
    height, width = _canvas()
    horizon = int(height * rng.uniform(0.45, 0.7))
    sky = rng.uniform([90, 120, 140], [170, 200, 235])
    ground = rng.uniform([70, 85, 50], [160, 160, 120])
    image = np.empty((height, width, 3), np.float32)
    image[:horizon], image[horizon:] = sky, ground
    for _ in range(rng.integers(2, 5)):
        left, span = rng.integers(0, width), rng.integers(8, 28)
        top = rng.integers(horizon // 3, horizon - 6)
        image[top:horizon, left : left + span] = sky.mean() + rng.uniform(-45.0, 30.0, 3)
    image *= (0.88 + 0.24 * _clouds(rng, height, width, num_cells=14))[..., None]
    return image


def draw_film(rng: np.random.Generator) -> FloatImage:
    """Draw a dark room with uneven light, little colour and some furniture."""
    height, width = _canvas()
    light = 0.6 * _clouds(rng, height, width, num_cells=5)
    light += 0.4 * _clouds(rng, height, width, num_cells=16)
    image = (rng.uniform(30.0, 50.0) + 55.0 * light)[..., None] * rng.uniform(0.85, 1.1, 3)
    for _ in range(rng.integers(2, 6)):
        left, top = rng.integers(0, width - 20), rng.integers(0, height - 20)
        span, drop = rng.integers(6, 36), rng.integers(10, 50)
        image[top : top + drop, left : left + span] *= rng.uniform(0.7, 1.3)
    return image.astype(np.float32)


def draw_graphic(rng: np.random.Generator) -> FloatImage:
    """Draw stripes on one saturated colour."""
    height, width = _canvas()
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0.0, np.pi), rng.uniform(14.0, 50.0)
    wave = np.sin(2.0 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    stripes = rng.uniform(6.0, 18.0) * np.sign(wave)
    return (rng.uniform(40.0, 215.0, 3) + stripes[..., None]).astype(np.float32)
