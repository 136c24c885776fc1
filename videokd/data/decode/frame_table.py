"""Table of a video's frames built from its packets: shown frames and starts of decoding.

Pure arithmetic on demuxed packets, independent of any decoder library.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videokd.data.decode.mpeg4 import Vop, display_ranks

# An MPEG-4 packet this small has no new picture: a dropped frame, or the slot of a packed picture.
_MAX_EMPTY_PACKET_BYTES = 16
# FFmpeg's default for a stream without times.
_DEFAULT_FPS = 25.0


class Packet(NamedTuple):
    """Facts about one packet from the container.

    Args:
        pts: Presentation time in stream units, or None.
        is_key: Whether decoding can start here.
        is_hidden: Whether the container marks its frame as not to be shown.
        is_corrupt: Whether the container reports missing bytes.
        num_bytes: Size.
        is_disposable: Whether it is known that no other frame is predicted from its frame.
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
    """Frames of a video, each identified by the time that its packet carries into the decoder.

    Args:
        pts: Times of the shown frames, ascending; entry n belongs to frame n.
        numbers: Packet numbers of the frames, which give the order of decoding.
        keys: Numbers of the packets that decoding can start at, in display order.
        key_pts: Times of ``keys``, ascending.
        disposable: (stop,) whether no other frame is predicted from the packet's frame.
        stop: Number of packets, excluding a truncated last one.
        is_counted: Whether the times are unusable, so that frames must be counted from the start of
            the video.
        stamps: (stop,) times that replace the container's times on the packets, -1 for none; or
            None if the container's times are right.
        shown_pts: Container times of the frames if these are in order, else None.
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
        """Number of packets from ``first`` on."""
        return self.stop - self.first

    @property
    def has_closed_groups(self) -> bool:
        """Whether all frames that are shown before a key frame are decoded before it, too."""
        latest = np.maximum.accumulate(np.concatenate([[-1], self.numbers]))
        landings = np.searchsorted(self.pts, self.key_pts)
        return bool((latest[landings] < self.keys).all())

    def key_of(self, index: int) -> int:
        """Return the position in `keys` of the last key frame shown no later than a frame."""
        return int(np.searchsorted(self.key_pts, self.pts[index], side="right")) - 1

    def landing_of(self, key: int) -> int:
        """Return the first frame that decodes correctly when decoding starts at a key frame."""
        return int(np.searchsorted(self.pts, self.key_pts[key]))

    def packets_to_leave_out(self, run: Sequence[int]) -> frozenset[int]:
        """Return the disposable packets that hold none of the given frames and can be skipped."""
        return frozenset(np.flatnonzero(self.disposable).tolist()) - set(
            self.numbers[list(run)].tolist()
        )

    def plan_runs(self, wanted: Sequence[int]) -> list[list[int]]:
        """Group ascending frames into runs to decode in one go each, without extra frames."""
        runs: list[list[int]] = []
        for index in wanted:
            if not runs or self._first_needed(index) > runs[-1][-1] + 1:
                runs.append([])
            runs[-1].append(index)
        return runs

    def seconds(
        self, num_frames: int, *, seconds_per_unit: float, fps: float
    ) -> NDArray[np.float64]:
        """Compute the display time of each frame in seconds from the first frame; (num_frames,).

        Args:
            num_frames: Frames of the video.
            seconds_per_unit: Seconds per unit of the container's times.
            fps: Frame rate used if times are missing or out of order; 0.0 if unknown.
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

    If the times cannot be display times, the table is marked as counted. An example: decoding times
    that `ffmpeg -i x.avi -c copy x.mp4` writes as display times.

    Args:
        packets: All packets of the video stream, in decoding order.
        codec: FFmpeg's name of the codec.
        reorders: Whether the codec's reorder depth is > 0, so that display order and decoding order
            may differ.
        has_display_times: False for a container that stores decoding times only (AVI).
        vops: Picture of each packet if it is known. It replaces the container's times and key
            frames.
    """
    # Exclude a last packet that lacks bytes: the file was cut off inside it.
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
    # Frames shown before the first key frame lack their reference frames.
    start = keys[0][0] if keys else 0
    shown = [(p.pts, n) for n, p in numbered if p.pts is not None and p.pts >= start]
    shown = sorted((t, n) for t, n in shown if t not in hidden)
    is_counted = len(set(times)) < len(numbered) or (is_mpeg4 and has_empty)
    if is_counted:  # the first key frame may lack a time
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
    """Return whether times rise in decoding order although display order differs from it."""
    timed = [(p.pts, p.is_bidirectional) for p in packets if p.pts is not None]
    latest = accumulate((pts for pts, _ in timed), max)
    # For each packet: displayed after all packets decoded before it, and whether it is a B picture.
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
    """Return the container's times of the frames in display order, or None if they do not rise."""
    if table.is_counted:
        return None
    if table.stamps is None:
        return table.pts
    times = [pts for pts in (packets[n].pts for n in table.numbers) if pts is not None]
    is_whole = len(times) == len(table.numbers)
    is_rising = all(before < after for before, after in pairwise(times))
    return np.array(times, np.int64) if is_whole and is_rising else None
