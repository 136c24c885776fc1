"""From the packets of a video to its frames: which are shown, and where decoding has to start.

Pure arithmetic on what demuxing tells; nothing here knows a decoder library.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videokd.data.mpeg4 import Vop, display_ranks

# An MPEG-4 packet this small shows nothing new: a frame left out, or the place of a packed one.
_MAX_EMPTY_PACKET_BYTES = 16
# What FFmpeg assumes of a stream without times.
_DEFAULT_FPS = 25.0


class Packet(NamedTuple):
    """What a container says about one packet.

    Args:
        pts: Time of presentation in units of the stream, or None.
        is_key: Whether decoding can start here.
        is_hidden: Whether the container marks its frame as not to be shown.
        is_corrupt: Whether the container knows that bytes are missing.
        num_bytes: Size.
        is_disposable: Whether it is known that no other frame is predicted from its.
        is_bidirectional: Whether it is known to hold a B picture, which is displayed before a
            picture that was decoded earlier.
    """

    pts: int | None
    is_key: bool
    is_hidden: bool
    is_corrupt: bool
    num_bytes: int
    is_disposable: bool = False
    is_bidirectional: bool = False


@dataclass(frozen=True)
class FrameTable:
    """The frames of a video, each by the time that its packet carries into the decoder.

    Args:
        pts: Times of the frames shown, ascending: frame n has the n-th.
        numbers: Numbers of their packets, which tell the order of decoding.
        keys: Numbers of the packets that decoding can start at, in the order of display.
        key_pts: Their times, ascending.
        disposable: (stop,) whether no other frame is predicted from a packet's.
        stop: Number of packets, without one that was cut off.
        is_counted: The times are useless; frames must be counted from the start of the video.
        stamps: (stop,) times to put on the packets in place of the container's, -1 for none; or
            None where the container's are right.
        shown_pts: The container's times of the frames where these are in order, else None.
    """

    pts: NDArray[np.int64]
    numbers: NDArray[np.int64]
    keys: NDArray[np.int64]
    key_pts: NDArray[np.int64]
    disposable: NDArray[np.bool_]
    stop: int
    is_counted: bool
    stamps: NDArray[np.int64] | None = None
    shown_pts: NDArray[np.int64] | None = None

    @property
    def first(self) -> int:
        """Number of the first packet that decoding can start at."""
        return int(self.keys.min(initial=self.stop))

    @property
    def max_frames(self) -> int:
        """Packets from there on."""
        return self.stop - self.first

    def key_of(self, index: int) -> int:
        """Find the last key frame (its position in `keys`) shown no later than a frame."""
        return int(np.searchsorted(self.key_pts, self.pts[index], side="right")) - 1

    def landing_of(self, key: int) -> int:
        """Find the first frame that comes out right when decoding starts at a key frame."""
        return int(np.searchsorted(self.pts, self.key_pts[key]))

    def packets_to_leave_out(self, run: Sequence[int]) -> frozenset[int]:
        """List the packets that need not be decoded for some frames: no frame wants theirs."""
        return frozenset(np.flatnonzero(self.disposable).tolist()) - set(
            self.numbers[list(run)].tolist()
        )

    def plan_runs(self, wanted: Sequence[int]) -> list[list[int]]:
        """Cut ascending frames into runs, decoded each in one go: no frame more than must be."""
        runs: list[list[int]] = []
        for index in wanted:
            if not runs or self._first_needed(index) > runs[-1][-1] + 1:
                runs.append([])
            runs[-1].append(index)
        return runs

    def seconds(
        self, num_frames: int, *, seconds_per_unit: float, fps: float
    ) -> NDArray[np.float64]:
        """Compute when each of `num_frames` frames is shown, from the first on; (num_frames,).

        Args:
            num_frames: Frames of the video.
            seconds_per_unit: Of the container's times.
            fps: Stands in for times that are missing or out of order; 0.0 is not known.
        """
        if self.shown_pts is None or len(self.shown_pts) != num_frames:
            return np.arange(num_frames) / (fps or _DEFAULT_FPS)
        return (self.shown_pts - self.shown_pts[0]) * seconds_per_unit

    def _first_needed(self, index: int) -> int:
        return 0 if self.is_counted else self.landing_of(self.key_of(index))


def build_frame_table(
    packets: Sequence[Packet],
    *,
    codec: str,
    reorders: bool = False,
    has_display_times: bool = True,
    vops: Sequence[Vop] | None = None,
) -> FrameTable:
    """Build the frame table of a video from its packets.

    Times that cannot be those of display make a counted table, for instance the decoding times
    that `ffmpeg -i x.avi -c copy x.mp4` writes as display times.

    Args:
        packets: All packets of the video stream, in decoding order.
        codec: FFmpeg's name of the codec.
        reorders: The codec's reorder depth is > 0: frames may be displayed in another order than
            they are decoded in.
        has_display_times: False for a container that stores decoding times only (AVI).
        vops: The picture in each packet where it is known. It replaces the container's times and
            key frames.
    """
    # A last packet that lacks bytes: the file was cut off inside it.
    stop = len(packets) - bool(packets and packets[-1].is_corrupt)
    packets = packets[:stop]
    if vops is not None and not any(packet.is_hidden for packet in packets):
        table = _from_vops(vops[:stop])
    else:
        table = _from_times(packets, is_mpeg4=codec == "mpeg4")
        is_untimed = reorders and not has_display_times
        if is_untimed or _has_decoding_times(packets[table.first :], reorders=reorders):
            table = replace(table, is_counted=True)
    return replace(table, shown_pts=_times_in_order(packets, table))


def _from_times(packets: Sequence[Packet], *, is_mpeg4: bool) -> FrameTable:
    first = next((n for n, packet in enumerate(packets) if packet.is_key), len(packets))
    numbered = [(n, p) for n, p in enumerate(packets) if n >= first]
    times = [p.pts for _, p in numbered if p.pts is not None]
    keys = sorted((p.pts, n) for n, p in numbered if p.is_key and p.pts is not None)
    hidden = {p.pts for _, p in numbered if p.is_hidden}
    has_empty = any(p.num_bytes <= _MAX_EMPTY_PACKET_BYTES for _, p in numbered)
    # Frames that lead the first key frame lack what they were predicted from.
    start = keys[0][0] if keys else 0
    shown = [(p.pts, n) for n, p in numbered if p.pts is not None and p.pts >= start]
    shown = sorted((t, n) for t, n in shown if t not in hidden)
    is_counted = len(set(times)) < len(numbered) or (is_mpeg4 and has_empty)
    if is_counted:  # also from a key frame without a time
        keys = [(start, first)]
    return FrameTable(
        pts=np.array([t for t, _ in shown], np.int64),
        numbers=np.array([n for _, n in shown], np.int64),
        keys=np.array([n for _, n in keys] or [first], np.int64),
        key_pts=np.array([t for t, _ in keys] or [start], np.int64),
        disposable=np.array([packet.is_disposable for packet in packets], np.bool_),
        stop=len(packets),
        is_counted=is_counted,
    )


def _has_decoding_times(packets: Sequence[Packet], *, reorders: bool) -> bool:
    """Return whether times rise in decoding order where frames are displayed in another order."""
    timed = [(p.pts, p.is_bidirectional) for p in packets if p.pts is not None]
    latest = accumulate((pts for pts, _ in timed), max)
    # Whether each packet is displayed after all that were decoded before it, and holds a B picture.
    late = [(pts > before, is_b) for before, (pts, is_b) in zip(latest, timed[1:], strict=False)]
    return any(is_late and is_b for is_late, is_b in late) or (
        reorders and all(is_late for is_late, _ in late)
    )


def _from_vops(vops: Sequence[Vop]) -> FrameTable:
    keys = [n for n, vop in enumerate(vops) if vop.kind == "I" and vop.is_coded]
    first = keys[0] if keys else len(vops)
    stamps = np.full(len(vops), -1, np.int64)
    stamps[first:] = display_ranks(vops[first:])
    num_frames = int(stamps.max(initial=-1)) + 1
    return FrameTable(
        pts=np.arange(num_frames),
        numbers=np.argsort(stamps, kind="stable")[len(vops) - num_frames :],
        keys=np.array(keys, np.int64),
        key_pts=stamps[keys],
        disposable=np.array([vop.kind == "B" for vop in vops], np.bool_),
        stop=len(vops),
        is_counted=False,
        stamps=stamps,
    )


def _times_in_order(packets: Sequence[Packet], table: FrameTable) -> NDArray[np.int64] | None:
    """Take the container's times of the frames in the order of display, where they rise."""
    if table.is_counted:
        return None
    if table.stamps is None:
        return table.pts
    times = [pts for pts in (packets[n].pts for n in table.numbers) if pts is not None]
    is_whole = len(times) == len(table.numbers)
    is_rising = all(before < after for before, after in pairwise(times))
    return np.array(times, np.int64) if is_whole and is_rising else None
