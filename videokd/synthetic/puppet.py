"""Puppet of 15 joints on a floor, driven by joint angles; no actions and no pixels.

Body axes: x forward, y up, z to the puppet's left; the unit of length is about a metre. T is the
number of frames. Arrays over the two sides have index 0 = right, 1 = left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

PELVIS, NECK, HEAD = 0, 1, 2
# (shoulder, elbow, wrist) and (hip, knee, ankle), right side first.
ARMS = ((3, 4, 5), (6, 7, 8))
LEGS = ((9, 10, 11), (12, 13, 14))
NUM_JOINTS = 15

_TORSO, _NECK_TO_HEAD = 0.52, 0.22
_UPPER_ARM, _FOREARM, _SHOULDER_HALF_WIDTH = 0.30, 0.27, 0.19
_THIGH, _SHIN, _HIP_HALF_WIDTH = 0.44, 0.42, 0.10
_HEAD_RADIUS = 0.11


@dataclass(frozen=True, slots=True)
class Body:
    """Proportions of an actor, as factors around 1.0 on the default lengths."""

    torso: float = 1.0
    width: float = 1.0
    arm: float = 1.0
    leg: float = 1.0

    @property
    def standing_height(self) -> float:
        """Height from the floor to the top of the head, in body units."""
        return (_THIGH + _SHIN) * self.leg + _TORSO * self.torso + _NECK_TO_HEAD + _HEAD_RADIUS

    @property
    def seat(self) -> tuple[float, float]:
        """(x, y) of the pelvis when seated with the ankles around x = 0, in body units."""
        return -_THIGH * self.leg, _SHIN * self.leg


@dataclass(slots=True)
class JointAngles:
    """Angles over time, in radians; (T,) or (2, T) for the two sides.

    Attributes:
        lean: (T,) forward pitch of the torso.
        rise: (T,) height of the lowest joint above the floor, body units.
        travel: (T,) forward displacement of the whole body, body units.
        shoulder_pitch: (2, T) upper arm forward and up; 0 hangs down.
        shoulder_roll: (2, T) upper arm sideways and up; 0 hangs down.
        shoulder_twist: (2, T) outward rotation of the elbow's plane; at 0 the elbow bends forward.
        elbow: (2, T) 0 is a straight arm.
        hip_pitch: (2, T) thigh forward and up.
        hip_roll: (2, T) thigh sideways.
        knee: (2, T) 0 is a straight leg.
        is_planted: Whether the feet stay in place and the pelvis moves instead.
    """

    lean: FloatArray
    rise: FloatArray
    travel: FloatArray
    shoulder_pitch: FloatArray
    shoulder_roll: FloatArray
    shoulder_twist: FloatArray
    elbow: FloatArray
    hip_pitch: FloatArray
    hip_roll: FloatArray
    knee: FloatArray
    is_planted: bool = False

    @classmethod
    def at_rest(cls, num_frames: int) -> "JointAngles":
        """Return a relaxed standing pose, held for `num_frames` frames."""

        def both(value: float) -> FloatArray:
            return np.full((2, num_frames), value)

        return cls(
            lean=np.zeros(num_frames),
            rise=np.zeros(num_frames),
            travel=np.zeros(num_frames),
            shoulder_pitch=both(0.05),
            shoulder_roll=both(0.15),
            shoulder_twist=both(0.0),
            elbow=both(0.25),
            hip_pitch=both(0.0),
            hip_roll=both(0.06),
            knee=both(0.06),
        )


def _pitch(vectors: FloatArray, angle: FloatArray) -> FloatArray:
    """Rotate (T, 3) vectors in the x-y plane; positive angles turn down to forward."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = vectors.T
    return np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=1)


def _roll(vectors: FloatArray, angle: FloatArray) -> FloatArray:
    """Rotate (T, 3) vectors in the y-z plane; positive angles turn down to the left."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = vectors.T
    return np.stack([x, y * cos + z * sin, z * cos - y * sin], axis=1)


def turn(vectors: FloatArray, angle: FloatArray | float) -> FloatArray:
    """Rotate (..., 3) vectors about the vertical axis; positive angles turn forward to the left.

    Args:
        vectors: (..., 3) body coordinates.
        angle: Radians, broadcast against the leading dimensions.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([x * cos - z * sin, y, x * sin + z * cos], axis=-1)


def _arm(angles: JointAngles, side: int, body: Body) -> tuple[FloatArray, FloatArray]:
    """Return the upper arm and the forearm as (T, 3) vectors."""
    outwards = 1.0 if side == 1 else -1.0
    roll = outwards * angles.shoulder_roll[side]
    pitch = angles.shoulder_pitch[side]
    num_frames = pitch.shape[0]
    upper = np.tile([0.0, -_UPPER_ARM * body.arm, 0.0], (num_frames, 1))
    fore = np.tile([0.0, -_FOREARM * body.arm, 0.0], (num_frames, 1))
    fore = turn(_pitch(fore, angles.elbow[side]), outwards * angles.shoulder_twist[side])
    return _pitch(_roll(upper, roll), pitch), _pitch(_roll(fore, roll), pitch)


def _leg(angles: JointAngles, side: int, body: Body) -> tuple[FloatArray, FloatArray]:
    """Return the thigh and the shin as (T, 3) vectors."""
    roll = (1.0 if side == 1 else -1.0) * angles.hip_roll[side]
    pitch = angles.hip_pitch[side]
    num_frames = pitch.shape[0]
    thigh = np.tile([0.0, -_THIGH * body.leg, 0.0], (num_frames, 1))
    shin = _pitch(np.tile([0.0, -_SHIN * body.leg, 0.0], (num_frames, 1)), -angles.knee[side])
    return _pitch(_roll(thigh, roll), pitch), _pitch(_roll(shin, roll), pitch)


def joint_positions(angles: JointAngles, body: Body) -> FloatArray:
    """Compute the joint positions.

    Forward kinematics starts at the pelvis. Then the lowest joint is placed at height `rise` above
    the floor (y = 0), and planted feet are moved back to x = 0.

    Args:
        angles: Joint angles of T frames.
        body: Proportions of the actor.

    Returns:
        (T, 15, 3) positions in body units.
    """
    num_frames = angles.lean.shape[0]
    joints = np.zeros((num_frames, NUM_JOINTS, 3))

    def on_torso(x: float, y: float, z: float) -> FloatArray:
        return _pitch(np.tile([x, y, z], (num_frames, 1)), -angles.lean)

    torso = _TORSO * body.torso
    joints[:, NECK] = on_torso(0.0, torso, 0.0)
    joints[:, HEAD] = on_torso(0.0, torso + _NECK_TO_HEAD, 0.0)
    for side, outwards in ((0, -1.0), (1, 1.0)):
        shoulder, elbow, wrist = ARMS[side]
        upper, fore = _arm(angles, side, body)
        joints[:, shoulder] = on_torso(
            0.0, torso - 0.04, outwards * _SHOULDER_HALF_WIDTH * body.width
        )
        joints[:, elbow] = joints[:, shoulder] + upper
        joints[:, wrist] = joints[:, elbow] + fore
        hip, knee, ankle = LEGS[side]
        thigh, shin = _leg(angles, side, body)
        joints[:, hip] = (0.0, -0.02, outwards * _HIP_HALF_WIDTH * body.width)
        joints[:, knee] = joints[:, hip] + thigh
        joints[:, ankle] = joints[:, knee] + shin
    if angles.is_planted:
        ankles = [LEGS[0][2], LEGS[1][2]]
        joints[:, :, 0] -= joints[:, ankles, 0].mean(axis=1, keepdims=True)
    joints[:, :, 1] += angles.rise[:, None] - joints[:, :, 1].min(axis=1, keepdims=True)
    joints[:, :, 0] += angles.travel[:, None]
    return joints
