"""Frames of a video at given indices, in one pass. The only package that knows a decoder library.

Frame n is the n-th frame a player shows: packets that the container marks as not to be shown, and
those before the first key frame, do not count. Pixel aspect ratios are ignored, rotation is not.

An index is found exactly or VideoError is raised. A file is opened once and its packets listed;
decoding then starts at the key frame that the first wanted frame needs and ends with the last one
(`pyav_reader`). Times in a container are not taken on trust: every decoded frame must carry the
time that follows the one before it. The times of MPEG-4 in AVI (UCF101, HMDB51) are not used at
all: the order of display is read from the pictures themselves (`data.mpeg4`).
"""

from videokd.data.decode.choice import BACKENDS, open_video, probe_video
from videokd.data.decode.packets import MAX_VIDEO_FRAMES
from videokd.data.decode.streams import MAX_FRAME_PX

__all__ = ["BACKENDS", "MAX_FRAME_PX", "MAX_VIDEO_FRAMES", "open_video", "probe_video"]
