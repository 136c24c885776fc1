"""Selection of frames and crop boxes: arithmetic on frame numbers, seconds and pixels."""

from videokd.data.sampling.clips import (
    clip_frame_indices,
    end_inclusive_clip_starts,
    looped_clip_frame_indices,
    random_clip_start,
    uniform_clip_starts,
)
from videokd.data.sampling.crops import NUM_CROPS, Box, uniform_crop_boxes
from videokd.data.sampling.resampling import count_resampled_frames, find_resampled_frames
from videokd.data.sampling.segments import (
    central_segment_frames,
    end_inclusive_segment_frames,
    random_segment_frames,
)
from videokd.data.sampling.temporal import (
    CLAMP,
    DENSE,
    END_INCLUSIVE,
    KINDS,
    LOOP,
    NON_LOCAL,
    SEGMENT_CENTRES,
    SEGMENTS,
    SHORT_VIDEO_RULES,
    TEST_RULES,
    TemporalSampling,
)

__all__ = [
    "CLAMP",
    "DENSE",
    "END_INCLUSIVE",
    "KINDS",
    "LOOP",
    "NON_LOCAL",
    "NUM_CROPS",
    "SEGMENTS",
    "SEGMENT_CENTRES",
    "SHORT_VIDEO_RULES",
    "TEST_RULES",
    "Box",
    "TemporalSampling",
    "central_segment_frames",
    "clip_frame_indices",
    "count_resampled_frames",
    "end_inclusive_clip_starts",
    "end_inclusive_segment_frames",
    "find_resampled_frames",
    "looped_clip_frame_indices",
    "random_clip_start",
    "random_segment_frames",
    "uniform_clip_starts",
    "uniform_crop_boxes",
]
