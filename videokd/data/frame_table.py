"""From the packets of a video to its frames: which are shown, and where decoding has to start.

Pure arithmetic on what demuxing tells; nothing here knows a decoder library.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# An MPEG-4 packet this small shows nothing new: a frame left out, or the place of a packed one.
_MAX_EMPTY_PACKET_BYTES = 16
# Seeking costs about as much as decoding this many frames.
_MIN_SKIPPED_FRAMES = 12


class Packet(NamedTuple):
    """What a container says about one packet.

    Args:
        pts: Time of presentation in units of the stream, or None.
        is_key: Whether decoding can start here.
        is_hidden: Whether the container marks its frame as not to be shown.
        is_corrupt: Whether the container knows that bytes are missing.
        num_bytes: Size.
    """

    pts: int | None
    is_key: bool
    is_hidden: bool
    is_corrupt: bool
    num_bytes: int


@dataclass(frozen=True)
class FrameTable:
    """The frames of a video by their times.

    Args:
        pts: Times of the frames shown, ascending: frame n has the n-th.
        key_pts: Times of the key frames, ascending.
        is_counted: The times are useless; frames must be counted from the start of the video.
        num_packets: Packets from the first key frame on.
    """

    pts: NDArray[np.int64]
    key_pts: NDArray[np.int64]
    is_counted: bool
    num_packets: int

    def key_of(self, index: int) -> int:
        """Find the last key frame (its position in key_pts) shown no later than a frame."""
        return int(np.searchsorted(self.key_pts, self.pts[index], side="right")) - 1

    def plan_runs(self, wanted: Sequence[int]) -> list[list[int]]:
        """Cut ascending frames into runs, each decoded in one go without a seek inside."""
        runs: list[list[int]] = []
        for index in wanted:
            if not runs or self._first_needed(index) - runs[-1][-1] > _MIN_SKIPPED_FRAMES:
                runs.append([])
            runs[-1].append(index)
        return runs

    def _first_needed(self, index: int) -> int:
        if self.is_counted:
            return 0
        return int(np.searchsorted(self.pts, self.key_pts[self.key_of(index)]))


def build_frame_table(packets: Sequence[Packet], *, codec: str) -> FrameTable:
    """Work out the frames of a video.

    Args:
        packets: All packets of the video stream, in the order of decoding.
        codec: FFmpeg's name of the codec.
    """
    packets = list(packets)
    if packets and packets[-1].is_corrupt:
        packets.pop()  # The file was cut off inside this packet.
    first = next((n for n, packet in enumerate(packets) if packet.is_key), len(packets))
    packets = packets[first:]
    times = [p.pts for p in packets if p.pts is not None]
    keys = [p.pts for p in packets if p.is_key and p.pts is not None] or times
    hidden = {p.pts for p in packets if p.is_hidden}
    has_empty = any(p.num_bytes <= _MAX_EMPTY_PACKET_BYTES for p in packets)
    return FrameTable(
        # Frames that lead the first key frame lack what they were predicted from.
        pts=np.array(sorted(t for t in times if t >= keys[0] and t not in hidden), np.int64),
        key_pts=np.array(sorted(keys), np.int64),
        is_counted=len(set(times)) < len(packets) or (codec == "mpeg4" and has_empty),
        num_packets=len(packets),
    )
