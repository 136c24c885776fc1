"""Selection of frames: arithmetic on frame numbers and seconds."""

from videokd.data.sampling.clips import clip_frame_indices, uniform_clip_starts
from videokd.data.sampling.temporal import (
    CLAMP,
    DENSE,
    KINDS,
    SEGMENT_CENTRES,
    SEGMENTS,
    SHORT_VIDEO_RULES,
    SPREAD,
    TEST_RULES,
    TemporalSampling,
)

__all__ = [
    "CLAMP",
    "DENSE",
    "KINDS",
    "SEGMENTS",
    "SEGMENT_CENTRES",
    "SHORT_VIDEO_RULES",
    "SPREAD",
    "TEST_RULES",
    "TemporalSampling",
    "clip_frame_indices",
    "uniform_clip_starts",
]
