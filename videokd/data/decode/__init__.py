"""Video frames at given indices, in one pass. The only package that uses decoder libraries.

Frame n is the n-th frame that a player shows. Packets that the container marks as hidden, and
packets before the first key frame, do not count. Rotation is applied, pixel aspect ratio is not.

An index is found exactly or VideoError is raised. A file is opened once and its packets are listed.
Decoding starts at the key frame that the first wanted frame needs and stops after the last wanted
frame (`pyav_reader`). Container times are verified: every decoded frame must carry the time that
follows the previous one. Times of MPEG-4 in AVI (UCF101, HMDB51) are not used at all; the display
order is read from the pictures themselves (`mpeg4`).
"""

from videokd.data.decode.choice import BACKENDS, open_video, probe_video
from videokd.data.decode.streams import MAX_FRAME_PX, MAX_VIDEO_FRAMES

__all__ = ["BACKENDS", "MAX_FRAME_PX", "MAX_VIDEO_FRAMES", "open_video", "probe_video"]
