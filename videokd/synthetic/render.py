"""Deterministic rendering of a clip from its spec."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videokd.synthetic.actions import ACTIONS, act, draw_performance
from videokd.synthetic.backdrop import HEIGHT_PX, WIDTH_PX
from videokd.synthetic.puppet import ARMS, HEAD, LEGS, NECK, PELVIS, Body, FloatArray, turn
from videokd.synthetic.raster import Capsule, paint
from videokd.synthetic.scene import DOMAINS, Scene, draw_scene
from videokd.utils.errors import InputError

NUM_FRAMES = 32
FRAME_RATE_FPS = 25

# Thickness as a fraction of the standing height. Thin limbs vanish at 48 x 48 px.
_TORSO_RADIUS, _ARM_RADIUS, _LEG_RADIUS, _HEAD_RADIUS = 0.088, 0.046, 0.056, 0.066
_FOOT_RADIUS, _FOOT_LENGTH = 0.036, 0.4  # the length as a fraction of the shin
_TORSO_COLOUR, _ARM_COLOUR, _LEG_COLOUR, _HEAD_COLOUR = 0, 1, 2, 3
_BOX_ACTIONS = ("lift", "put_down")
_STOOL_ACTIONS = ("sit", "stand")


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Complete description of a clip.

    Attributes:
        action: One of `ACTIONS`.
        domain: One of `DOMAINS`.
        scene_seed: Seed of place, actor, clothes and camera; non-negative numbers.
        take_seed: Seed of the performance and the film grain; non-negative numbers.
        has_actor: False renders the scene alone.
    """

    action: str
    domain: str
    scene_seed: tuple[int, ...]
    take_seed: tuple[int, ...]
    has_actor: bool = True


def render_clip(spec: ClipSpec) -> NDArray[np.uint8]:
    """Return the frames of a clip; equal specs give equal frames.

    Args:
        spec: Description of the clip.

    Returns:
        (32, 96, 128, 3) RGB frames, 25 per second.

    Raises:
        InputError: The action or the domain is unknown.
    """
    for value, known in ((spec.action, ACTIONS), (spec.domain, DOMAINS)):
        if value not in known:
            raise InputError(f"unknown action or domain {value!r}; use one of {sorted(known)}")
    domain = DOMAINS[spec.domain]
    scene = draw_scene(domain, np.random.default_rng(spec.scene_seed), num_frames=NUM_FRAMES)
    take_rng = np.random.default_rng(spec.take_seed)
    frames = _cut_frames(scene)
    for mover in scene.movers:
        paint(frames, mover)
    if spec.has_actor:
        for capsule in _perform(spec.action, scene, take_rng, shading=domain.shading):
            paint(frames, capsule)
    if domain.grain:
        _add_grain(frames, take_rng, domain.grain)
    return np.ascontiguousarray(frames.transpose(0, 2, 3, 1))


def _cut_frames(scene: Scene) -> NDArray[np.uint8]:
    """Return the backdrop as seen by the moving camera, (T, 3, H, W)."""
    return np.stack(
        [scene.backdrop[:, y : y + HEIGHT_PX, x : x + WIDTH_PX] for x, y in scene.camera]
    )


def _perform(
    action: str, scene: Scene, rng: np.random.Generator, *, shading: float
) -> list[Capsule]:
    """Return the capsules of actor and props, farthest first."""
    performance = draw_performance(rng)
    joints = act(
        action, performance, scene.body, num_frames=NUM_FRAMES, frame_rate_fps=FRAME_RATE_FPS
    )
    segments = _actor_segments(joints) + _prop_segments(action, joints, scene.body)
    yaw_rad = scene.yaw_rad + rng.uniform(-0.12, 0.12)
    scale = scene.height_px / scene.body.standing_height
    foot = np.array([WIDTH_PX / 2 + rng.uniform(-9.0, 9.0), HEIGHT_PX - rng.uniform(4.0, 8.0)])
    # The actor stays in place in the scene: when the camera moves right, the actor moves left.
    origin = foot - (scene.camera - scene.camera.mean(axis=0))
    capsules = []
    for start, end, radius, colour in segments:
        ends = turn(np.stack([start, end]), yaw_rad)
        start_px, end_px = origin + scale * ends[..., :2] * (1.0, -1.0)
        capsule = Capsule(
            start=start_px.astype(np.float32),
            end=end_px.astype(np.float32),
            radius_px=radius * scene.height_px,
            colour=scene.colours[colour],
            shading=shading,
        )
        capsules.append((float(ends[..., 2].mean()), capsule))
    return [capsule for _, capsule in sorted(capsules, key=lambda pair: pair[0])]


_Segment = tuple[FloatArray, FloatArray, float, int]


def _actor_segments(joints: FloatArray) -> list[_Segment]:
    """Return (start, end, radius, colour) of the body parts."""
    hips = (joints[:, LEGS[0][0]] + joints[:, LEGS[1][0]]) / 2.0
    segments = [
        (hips, joints[:, NECK] * 0.85 + joints[:, PELVIS] * 0.15, _TORSO_RADIUS, _TORSO_COLOUR),
        (joints[:, HEAD], joints[:, HEAD], _HEAD_RADIUS, _HEAD_COLOUR),
    ]
    limb_styles = ((ARMS, _ARM_RADIUS, _ARM_COLOUR), (LEGS, _LEG_RADIUS, _LEG_COLOUR))
    for limbs, radius, colour in limb_styles:
        for first, middle, last in limbs:
            segments.append((joints[:, first], joints[:, middle], radius, colour))
            segments.append((joints[:, middle], joints[:, last], radius, colour))
    # Feet show the direction that the actor faces. Without them, walking backwards looks like
    # walking.
    for _, knee, ankle in LEGS:
        x, y, z = (joints[:, ankle] - joints[:, knee]).T
        toes = joints[:, ankle] + _FOOT_LENGTH * np.stack([-y, x, z], axis=1)
        segments.append((joints[:, ankle], toes, _FOOT_RADIUS, _LEG_COLOUR))
    return segments


def _prop_segments(action: str, joints: FloatArray, body: Body) -> list[_Segment]:
    """Return the box between the hands or the stool under the actor, if the action has one.

    Both actions of a reversed pair have the same props, so that props do not reveal the direction.
    """
    if action in _BOX_ACTIONS:
        hands = (joints[:, ARMS[0][2]] + joints[:, ARMS[1][2]]) / 2.0
        half = np.array([0.0, 0.09, 0.0])
        return [(hands - half, hands + half, 0.085, _TORSO_COLOUR)]
    if action in _STOOL_ACTIONS:
        x, y = body.seat
        seat = np.tile([x, y - 0.24, 0.0], (joints.shape[0], 1))
        half = np.array([0.12, 0.0, 0.0])
        return [(seat - half, seat + half, 0.07, _LEG_COLOUR)]
    return []


def _add_grain(frames: NDArray[np.uint8], rng: np.random.Generator, deviation: float) -> None:
    """Add grey noise in place, from one noise image per clip at a random offset per frame."""
    plate = rng.normal(0.0, deviation, (HEIGHT_PX + 32, WIDTH_PX + 32)).astype(np.int16)
    for frame, (y, x) in zip(frames, rng.integers(0, 33, (len(frames), 2)), strict=True):
        noisy = frame + plate[y : y + HEIGHT_PX, x : x + WIDTH_PX]
        frame[...] = np.clip(noisy, 0, 255)
