"""Scenes: backdrop, actor, clothes and camera of a group, in three domains.

A scene depends only on the seed of its group. It must not depend on the class, or a network could
learn the places instead of the motion.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videokd.synthetic.backdrop import (
    HEIGHT_PX,
    MARGIN_X_PX,
    MARGIN_Y_PX,
    WIDTH_PX,
    FloatImage,
    draw_film,
    draw_graphic,
    draw_outdoor,
)
from videokd.synthetic.puppet import Body
from videokd.synthetic.raster import Capsule


@dataclass(frozen=True, slots=True)
class Domain:
    """Appearance of one dataset.

    Attributes:
        draw_backdrop: Function that draws the (H', W', 3) backdrop, values in 0..255.
        max_pan_px: Largest speed of a slow pan, pixels per frame.
        shake_px: Standard deviation of the hand-held shake, pixels.
        grain: Standard deviation of the film grain, grey levels.
        contrast: Smallest and largest difference of clothes and backdrop, grey levels.
        saturation: Largest tint of the clothes, grey levels.
        shading: Darkening of the rims of the limbs, a share; 0.0 for flat figures.
        num_movers: Largest number of shapes that move behind the actor, >= 0.
        mover_radius_px: Smallest and largest half width of such a shape.
        min_yaw_rad: Smallest rotation of the actor from the pure side view.
        max_yaw_rad: Largest rotation of the actor from the pure side view.
    """

    draw_backdrop: Callable[[np.random.Generator], FloatImage]
    max_pan_px: float
    shake_px: float
    grain: float
    contrast: tuple[float, float]
    saturation: float
    shading: float
    num_movers: int
    mover_radius_px: tuple[float, float]
    min_yaw_rad: float
    max_yaw_rad: float


@dataclass(frozen=True, slots=True)
class Scene:
    """Scene of one group: a place, an actor and a camera.

    Attributes:
        backdrop: (3, H', W') uint8, larger than a frame by the margins.
        body: Proportions of the actor.
        height_px: Standing height of the actor.
        yaw_rad: Direction that the actor faces: 0 is right, pi is left.
        colours: (4, 3) RGB in 0..255 of torso, arms, legs and head.
        camera: (T, 2) integer x, y of the frame's corner on the backdrop, in pixels.
        movers: Shapes that move behind the actor, in frame coordinates.
    """

    backdrop: NDArray[np.uint8]
    body: Body
    height_px: float
    yaw_rad: float
    colours: FloatImage
    camera: NDArray[np.int_]
    movers: tuple[Capsule, ...]


def draw_scene(domain: Domain, rng: np.random.Generator, *, num_frames: int) -> Scene:
    """Draw a scene.

    Args:
        domain: Look of the dataset.
        rng: Generator seeded by the group.
        num_frames: Length of the camera path.
    """
    torso, width, arm, leg = rng.uniform(0.88, 1.12, 4)
    yaw_rad = rng.choice([-1.0, 1.0]) * rng.uniform(domain.min_yaw_rad, domain.max_yaw_rad)
    yaw_rad += np.pi * rng.integers(2)
    backdrop = np.clip(domain.draw_backdrop(rng), 0.0, 255.0)
    colours = _draw_colours(domain, rng, backdrop)
    camera = _draw_camera(domain, rng, num_frames)
    return Scene(
        backdrop=np.ascontiguousarray(backdrop.astype(np.uint8).transpose(2, 0, 1)),
        body=Body(torso=torso, width=width, arm=arm, leg=leg),
        height_px=HEIGHT_PX * rng.uniform(0.76, 0.82),
        yaw_rad=float(yaw_rad),
        colours=colours,
        camera=camera,
        movers=_draw_movers(domain, rng, camera, colours),
    )


def _draw_colours(domain: Domain, rng: np.random.Generator, backdrop: FloatImage) -> FloatImage:
    """Draw (4, 3) colours that are all brighter, or all darker, than the backdrop's centre."""
    middle = backdrop[:, backdrop.shape[1] // 4 : -backdrop.shape[1] // 4].mean()
    room = domain.contrast[1] + 10.0
    signs = [sign for sign in (-1.0, 1.0) if 0.0 <= middle + sign * room <= 255.0]
    sign = rng.choice(signs or [1.0 if middle < 128.0 else -1.0])
    # Arms, torso and legs differ in grey, so that a limb in front of the body stays visible.
    steps = rng.permutation(3) / 2.0
    steps = np.append(steps, rng.uniform())
    grey = middle + sign * (domain.contrast[0] + steps * np.ptp(domain.contrast))
    tint = rng.uniform(-domain.saturation, domain.saturation, (4, 3))
    tint -= tint.mean(axis=1, keepdims=True)
    return np.clip(grey[:, None] + tint, 0.0, 255.0).astype(np.float32)


def _draw_camera(domain: Domain, rng: np.random.Generator, num_frames: int) -> NDArray[np.int_]:
    """Draw a pan at constant speed with smooth random shake; its distribution is time-symmetric."""
    speed = rng.uniform(-domain.max_pan_px, domain.max_pan_px)
    pan = speed * (np.arange(num_frames) - (num_frames - 1) / 2.0)
    shake = rng.normal(0.0, 1.0, (num_frames + 4, 2))
    kernel = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / np.sqrt(19.0)
    path = np.stack([np.convolve(axis, kernel, mode="valid") for axis in shake.T], axis=1)
    path *= domain.shake_px
    path[:, 0] += pan
    margin = np.array([MARGIN_X_PX, MARGIN_Y_PX])
    return np.clip(np.rint(path + margin), 0, 2 * margin).astype(int)


def _draw_movers(
    domain: Domain, rng: np.random.Generator, camera: NDArray[np.int_], colours: FloatImage
) -> tuple[Capsule, ...]:
    """Draw upright shapes in the actor's colours that move sideways at constant speed.

    The distribution of their paths is symmetric in time, so that positions do not reveal the
    direction of time.
    """
    movers = []
    num_frames = len(camera)
    steps = np.arange(num_frames) - (num_frames - 1) / 2.0
    for _ in range(rng.integers(0, domain.num_movers + 1)):
        x = rng.uniform(0.0, WIDTH_PX) + rng.uniform(-1.2, 1.2) * steps
        radius_px = rng.uniform(*domain.mover_radius_px)
        bottom = HEIGHT_PX * rng.uniform(0.4, 0.95)
        top = bottom - rng.uniform(0.0, 0.4) * HEIGHT_PX
        drift = camera - camera.mean(axis=0)
        ends = [np.stack([x, np.full(num_frames, y)], axis=1) - drift for y in (top, bottom)]
        movers.append(
            Capsule(
                start=ends[0].astype(np.float32),
                end=ends[1].astype(np.float32),
                radius_px=radius_px,
                colour=colours[rng.integers(4)],
                shading=domain.shading,
            )
        )
    return tuple(movers)


DOMAINS = {
    "outdoor": Domain(
        draw_backdrop=draw_outdoor,
        max_pan_px=0.35,
        shake_px=0.0,
        grain=0.0,
        contrast=(55.0, 105.0),
        saturation=45.0,
        shading=0.35,
        num_movers=1,
        mover_radius_px=(3.0, 6.0),
        min_yaw_rad=0.35,
        max_yaw_rad=0.85,
    ),
    "film": Domain(
        draw_backdrop=draw_film,
        max_pan_px=0.15,
        shake_px=0.7,
        grain=7.0,
        contrast=(38.0, 72.0),
        saturation=12.0,
        shading=0.35,
        num_movers=1,
        mover_radius_px=(3.0, 7.0),
        min_yaw_rad=0.0,
        max_yaw_rad=0.6,
    ),
    "graphic": Domain(
        draw_backdrop=draw_graphic,
        max_pan_px=0.0,
        shake_px=0.0,
        grain=0.0,
        contrast=(55.0, 100.0),
        saturation=20.0,
        shading=0.0,
        num_movers=1,
        mover_radius_px=(3.0, 6.0),
        min_yaw_rad=0.35,
        max_yaw_rad=0.85,
    ),
}
