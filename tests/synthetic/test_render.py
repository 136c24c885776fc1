from dataclasses import replace

import numpy as np
import pytest

from videokd.synthetic import ClipSpec, render_clip
from videokd.synthetic.actions import ACTIONS, REVERSED_ACTIONS, act, draw_performance
from videokd.synthetic.puppet import ARMS, LEGS, Body, JointAngles, joint_positions
from videokd.synthetic.raster import Capsule, paint
from videokd.utils.errors import InputError

SQUAT = ClipSpec("squat", "outdoor", scene_seed=(0, 0, 0), take_seed=(0, 0, 0, 0, 0))


def test_same_spec_gives_same_frames():
    assert np.array_equal(render_clip(SQUAT), render_clip(SQUAT))


@pytest.mark.parametrize("change", [{"scene_seed": (1, 0, 0)}, {"take_seed": (1, 0, 0, 0, 0)}])
def test_other_seed_gives_other_frames(change):
    assert not np.array_equal(render_clip(SQUAT), render_clip(replace(SQUAT, **change)))


def test_unknown_action_is_refused():
    with pytest.raises(InputError, match="unknown action or domain 'fly'; use one of"):
        render_clip(replace(SQUAT, action="fly"))


@pytest.mark.parametrize("domain", ["outdoor", "film", "graphic"])
@pytest.mark.parametrize("action", ACTIONS)
def test_the_actor_is_large_and_moves(action, domain):
    spec = ClipSpec(action, domain, scene_seed=(0, 3), take_seed=(0, 4))
    frames = render_clip(spec).astype(np.int16)
    scene = render_clip(replace(spec, has_actor=False))
    actor = np.abs(frames - scene).mean(axis=3) > 25
    assert actor.any(axis=(0, 2)).sum() > 60  # rows of 96
    assert actor.mean() > 0.02
    assert (actor.any(axis=0) & ~actor.all(axis=0)).mean() > 0.015


def paint_slowly(frames, capsule):
    """Blend each pixel by its distance to the segment, in floating point."""
    painted = frames.astype(float)
    for t, y, x in np.ndindex(len(frames), *frames.shape[2:]):
        start, end = capsule.start[t].astype(float), capsule.end[t].astype(float)
        length = ((end - start) ** 2).sum()
        along = ((x, y) - start) @ (end - start) / length if length else 0.0
        distance = np.hypot(*(start + np.clip(along, 0, 1) * (end - start) - (x, y)))
        weight = np.clip(capsule.radius_px + 0.5 - distance, 0, 1)
        light = 1 - capsule.shading * min(distance / capsule.radius_px, 1)
        painted[t, :, y, x] += weight * (light * capsule.colour - painted[t, :, y, x])
    return painted


@pytest.mark.parametrize("shading", [0.0, 0.4])
def test_paint_equals_a_loop_over_pixels(shading):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 3, 20, 24), dtype=np.uint8)
    start = rng.uniform(-6, 30, (4, 2)).astype(np.float32)
    end = np.concatenate([start[:1], rng.uniform(-6, 30, (3, 2))]).astype(np.float32)
    colour = np.array([255.0, 0.0, 90.0], np.float32)
    capsule = Capsule(start, end, radius_px=3.2, colour=colour, shading=shading)
    wanted = paint_slowly(frames, capsule)
    paint(frames, capsule)
    assert np.abs(frames - wanted).max() <= 3  # 7 bits of coverage


def test_paint_outside_of_the_frame_changes_nothing():
    frames = np.full((1, 3, 8, 8), 7, np.uint8)
    far = np.array([[-40.0, 50.0]], np.float32)
    paint(frames, Capsule(far, far, radius_px=2.0, colour=np.zeros(3, np.float32)))
    assert (frames == 7).all()


# The puppet


def perform(action, seed=0):
    performance = draw_performance(np.random.default_rng(seed))
    return act(action, performance, Body(), num_frames=32, frame_rate_fps=25)


@pytest.mark.parametrize("action", ACTIONS)
def test_bones_keep_their_length(action):
    joints = perform(action)
    for chain in (*ARMS, *LEGS):
        bones = np.linalg.norm(np.diff(joints[:, chain], axis=1), axis=2)
        assert np.allclose(bones, bones[0])


@pytest.mark.parametrize("action", ["walk", "squat", "wave", "punch", "sit", "push", "lift"])
def test_the_lowest_joint_stays_on_the_floor(action):
    assert np.allclose(perform(action)[:, :, 1].min(axis=1), 0.0)


def test_straight_puppet_has_the_sum_of_its_parts_as_height():
    pose = JointAngles.at_rest(1)
    for side in (pose.hip_roll, pose.knee):
        side[:] = 0.0
    top = joint_positions(pose, Body())[0, :, 1].max()
    # The hips are 0.02 below the pelvis: 0.02 + 0.44 + 0.42 + 0.52 + 0.22.
    assert top == pytest.approx(1.62)


@pytest.mark.parametrize(("reverse", "forward"), sorted(REVERSED_ACTIONS.items()))
def test_reversed_pair_shows_the_same_poses_in_reverse_order(reverse, forward):
    assert np.array_equal(perform(reverse), perform(forward)[::-1])
    assert not np.allclose(perform(reverse), perform(forward))
