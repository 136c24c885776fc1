"""Actions as joint angles of the puppet over a clip.

Actions are either cyclic (walk, squat, wave) or one-way (sit, push, lift). Every one-way action,
and walking, has a partner action: the same motion with its frames in reverse order. An unordered
set of frames therefore cannot tell the two apart. This module handles no pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from videokd.synthetic.puppet import Body, FloatArray, JointAngles, joint_positions

# Reversed action -> the forward action that is played backwards.
REVERSED_ACTIONS = {
    "walk_backwards": "walk",
    "stand": "sit",
    "pull": "push",
    "put_down": "lift",
    "lower_arms": "raise_arms",
}


@dataclass(frozen=True, slots=True)
class Performance:
    """Parameters of one performance; they do not depend on the action.

    Attributes:
        tempo_hz: Cycles per second of cyclic actions.
        phase_rad: Phase of cyclic actions at the first frame.
        amplitude: Factor around 1.0 on the swing of the joints.
        lean_rad: Constant forward lean of the torso.
        onset_sec: Start time of one-way actions.
        duration_sec: Duration of one-way actions.
        extent: Progress at the begin and the end of one-way actions, within 0.0 .. 1.0.
        lead: The leading side, 0 = right, 1 = left.
        habit_rad: (2, 2, 2) arm habits. Axis 0: constant offset, sway amplitude; axis 1: shoulder
            pitch, roll; axis 2: right, left.
        sway_hz: Frequency of the arm sway.
    """

    tempo_hz: float
    phase_rad: float
    amplitude: float
    lean_rad: float
    onset_sec: float
    duration_sec: float
    extent: tuple[float, float]
    lead: int
    habit_rad: FloatArray
    sway_hz: float


def draw_performance(rng: np.random.Generator) -> Performance:
    """Draw a performance. One-way actions end within 1.25 s."""
    return Performance(
        tempo_hz=rng.uniform(0.9, 1.7),
        phase_rad=rng.uniform(0.0, 2.0 * np.pi),
        amplitude=rng.uniform(0.7, 1.1),
        lean_rad=rng.uniform(-0.08, 0.15),
        onset_sec=rng.uniform(0.05, 0.4),
        duration_sec=rng.uniform(0.45, 0.85),
        extent=(rng.uniform(0.0, 0.2), rng.uniform(0.75, 1.0)),
        lead=int(rng.integers(2)),
        habit_rad=rng.uniform(-0.18, 0.18, (2, 2, 2)),
        sway_hz=rng.uniform(0.4, 1.0),
    )


@dataclass(frozen=True, slots=True)
class _Clock:
    """Time signals of a performance: seconds, sine and cosine of the cycle, progress in [0, 1]."""

    time_sec: FloatArray
    sin: FloatArray
    cos: FloatArray
    linear: FloatArray
    eased: FloatArray


def _make_clock(performance: Performance, num_frames: int, frame_rate_fps: float) -> _Clock:
    time_sec = np.arange(num_frames) / frame_rate_fps
    angle = 2.0 * np.pi * performance.tempo_hz * time_sec + performance.phase_rad
    linear = np.clip((time_sec - performance.onset_sec) / performance.duration_sec, 0.0, 1.0)
    begin, end = performance.extent
    eased = begin + (end - begin) * linear * linear * (3.0 - 2.0 * linear)
    return _Clock(time_sec, np.sin(angle), np.cos(angle), linear, eased)


def _gait(
    pose: JointAngles, clock: _Clock, *, hip: float, knee: float, arm: float, speed: float
) -> None:
    """Add a gait: alternating legs, arms opposite, `speed` in body units per second."""
    pose.hip_pitch += hip * np.stack([clock.sin, -clock.sin])
    # The knee bends while its leg swings forward, that is, while the hip angle grows.
    pose.knee += knee * np.maximum(0.0, np.stack([clock.cos, -clock.cos]))
    pose.shoulder_pitch += arm * np.stack([-clock.sin, clock.sin])
    pose.travel += speed * (clock.time_sec - clock.time_sec.mean())


def _walk(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    amplitude = performance.amplitude
    _gait(pose, clock, hip=0.5 * amplitude, knee=0.8 * amplitude, arm=0.5 * amplitude, speed=0.45)


def _run(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    amplitude = performance.amplitude
    _gait(pose, clock, hip=0.85 * amplitude, knee=1.5 * amplitude, arm=0.9 * amplitude, speed=0.6)
    pose.elbow[:] = 1.5
    pose.lean += 0.2
    pose.rise += 0.08 * np.abs(clock.cos)


def _march(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    lift = 1.4 * performance.amplitude * np.maximum(0.0, np.stack([clock.sin, -clock.sin]))
    pose.hip_pitch += lift
    pose.knee += 1.1 * lift
    pose.shoulder_pitch += 0.7 * np.stack([-clock.sin, clock.sin])


def _jumping_jack(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    opening = 0.5 - 0.5 * clock.cos
    pose.shoulder_roll += 2.5 * performance.amplitude * opening
    pose.hip_roll += 0.45 * opening
    pose.rise += 0.08 * np.abs(clock.sin)


def _squat(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    depth = performance.amplitude * (0.5 - 0.5 * clock.cos)
    pose.hip_pitch += 1.35 * depth
    pose.knee += 2.0 * depth
    pose.lean += 0.45 * depth
    pose.shoulder_pitch += 1.5 * depth
    pose.is_planted = True


def _wave(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    lead = performance.lead
    pose.shoulder_roll[lead] = 1.6
    pose.shoulder_twist[lead] = 0.5 * np.pi
    pose.elbow[lead] = 1.1 + 0.9 * performance.amplitude * clock.sin


def _punch(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    reach = performance.amplitude * np.maximum(0.0, np.stack([clock.sin, -clock.sin]))
    pose.shoulder_pitch += 0.35 + 1.05 * reach
    pose.elbow[:] = 2.2 - 2.0 * reach
    pose.hip_pitch[performance.lead] += 0.3
    pose.hip_pitch[1 - performance.lead] -= 0.25


def _kick(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    swing = np.maximum(0.0, clock.sin) ** 2
    pose.hip_pitch[performance.lead] += 1.5 * performance.amplitude * swing - 0.3
    pose.knee[performance.lead] += 0.8 * (1.0 - swing)
    pose.lean -= 0.25 * swing
    pose.shoulder_roll += 0.4


def _sit(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    pose.hip_pitch += 1.5 * clock.eased
    pose.knee += 1.5 * clock.eased
    pose.lean += 0.6 * np.sin(np.pi * clock.linear)
    pose.shoulder_pitch += 0.6 * performance.amplitude * clock.eased
    pose.is_planted = True


def _push(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    pose.shoulder_pitch += 0.25 + 1.1 * clock.eased
    pose.elbow[:] = 2.1 - 2.0 * clock.eased
    pose.lean += 0.4 * performance.amplitude * clock.eased - 0.15
    pose.hip_pitch[performance.lead] += 0.45
    pose.knee[performance.lead] += 0.45 * clock.eased
    pose.hip_pitch[1 - performance.lead] -= 0.4
    pose.is_planted = True


def _lift(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    bend = 1.0 - clock.eased
    pose.lean += 1.0 * performance.amplitude * bend
    pose.hip_pitch += 0.8 * bend
    pose.knee += 1.2 * bend
    pose.shoulder_pitch += 0.25 + 1.9 * clock.eased
    pose.is_planted = True


def _raise_arms(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    pose.shoulder_roll += 2.6 * performance.amplitude * clock.eased


def _add_habits(pose: JointAngles, clock: _Clock, performance: Performance) -> None:
    """Add an arm offset and sway that differ per performance and do not depend on the action."""
    offset, swing = performance.habit_rad[..., None]
    sway = np.sin(2.0 * np.pi * performance.sway_hz * clock.time_sec + performance.phase_rad)
    pitch, roll = offset + swing * sway
    pose.shoulder_pitch += pitch
    pose.shoulder_roll += np.maximum(roll, -0.1)


_Action = Callable[[JointAngles, _Clock, Performance], None]
_FORWARD_ACTIONS: dict[str, _Action] = {
    "walk": _walk,
    "run": _run,
    "march": _march,
    "jumping_jack": _jumping_jack,
    "squat": _squat,
    "wave": _wave,
    "punch": _punch,
    "kick": _kick,
    "sit": _sit,
    "push": _push,
    "lift": _lift,
    "raise_arms": _raise_arms,
}
ACTIONS = (*_FORWARD_ACTIONS, *REVERSED_ACTIONS)


def act(
    action: str,
    performance: Performance,
    body: Body,
    *,
    num_frames: int,
    frame_rate_fps: float,
) -> FloatArray:
    """Compute the joint positions of an action.

    Args:
        action: One of `ACTIONS`.
        performance: Tempo, phase, amplitude and so on.
        body: The actor's proportions.
        num_frames: Length T of the clip.
        frame_rate_fps: Frames per second.

    Returns:
        (T, 15, 3) joint positions in body units. A reversed action returns the frames of its
        partner in reverse order.
    """
    pose = JointAngles.at_rest(num_frames)
    pose.lean += performance.lean_rad
    clock = _make_clock(performance, num_frames, frame_rate_fps)
    _FORWARD_ACTIONS[REVERSED_ACTIONS.get(action, action)](pose, clock, performance)
    _add_habits(pose, clock, performance)
    joints = joint_positions(pose, body)
    return joints[::-1] if action in REVERSED_ACTIONS else joints
