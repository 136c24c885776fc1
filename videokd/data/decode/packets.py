"""Packets of a video, listed once and readable from any position."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from videokd.data.decode.completeness import find_lack
from videokd.data.decode.container import WITHOUT_DISPLAY_TIMES
from videokd.data.decode.errors import ignore_damage
from videokd.data.decode.frame_table import FrameTable, Packet, build_frame_table
from videokd.data.decode.h264 import find_length_size, read_picture
from videokd.data.decode.mpeg4 import Vop, list_pictures
from videokd.data.decode.source import VideoFile
from videokd.data.decode.streams import MAX_VIDEO_FRAMES, open_stream
from videokd.utils.errors import VideoError

# Packets are kept after listing, since reading them again and relying on exact seeks costs more
# than this memory. Larger videos are read by seeking.
_MAX_HELD_BYTES = 64 * 2**20
# A block that was lost or never downloaded reads as zeros. These codecs write that many zeros in a
# row only after a picture.
_HOLE = bytes(64)
_CODECS_WITHOUT_HOLES = {"h264", "hevc", "mpeg4", "vp8", "vp9", "av1", "libdav1d"}

_Mark = tuple[int | None, int | None, int, int]


class PacketFile:
    """Video stream of an open file, as `streams.choose_stream` chooses it.

    Args:
        source: The file, checked; closed with this object.

    Attributes:
        source: The file.
        stream: PyAV's stream.
        codec_context: PyAV's decoder, with threads off, since loader workers run in parallel.
        table: Frame table built from the packets.
        num_opens: Number of times that the file was opened.

    Raises:
        VideoError: no video stream, one that is too large or has an unknown codec, or fewer packets
            than the container promises.
        av.FFmpegError: not a video.
        OSError: the file cannot be read.
    """

    def __init__(self, source: VideoFile) -> None:
        self.source = source
        self.num_opens = 0
        self._container: Any = None
        self._held: list[Any] | None = []
        self._num_empty = 0
        # Identify the packets if they are not held.
        self._marks: list[_Mark] = []
        try:
            self._open()
            self.table = self._scan()
        except BaseException:
            self.close()
            raise

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return str(self.codec_context.name)

    @property
    def num_streams(self) -> int:
        """Number of video streams, including cover pictures."""
        return len(self._container.streams.video)

    @property
    def fps(self) -> float:
        """Average frames per second; 0.0 if the container does not state it."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate else 0.0

    def times(self, num_frames: int) -> NDArray[np.float64]:
        """Compute the display time of each frame in seconds from the first one; (num_frames,)."""
        unit = float(self.stream.time_base)
        return self.table.seconds(num_frames, seconds_per_unit=unit, fps=self.fps)

    def packets_from(self, number: int) -> Iterator[Any]:
        """Yield the packets of the stream from a given one on, in decoding order."""
        stop, stamps = self.table.stop, self.table.stamps
        found = self._seek(number) if self._held is None else self._held[number:]
        for place, packet in enumerate(islice(found, stop - number), number):
            if stamps is not None:
                packet.pts = int(stamps[place]) if stamps[place] >= 0 else None
            yield packet

    def is_damaged(self, packet: Any) -> bool:
        """Return whether a part of a packet is known to be lost, or reads as zeros.

        Decoders do not always report it.
        """
        if packet.is_corrupt or self.codec not in _CODECS_WITHOUT_HOLES:
            return bool(packet.is_corrupt)
        content = bytes(packet)
        return _HOLE in content and _HOLE in content.rstrip(b"\0")

    def close(self) -> None:
        """Release the file and the packets."""
        self._held = None
        if self._container is not None:
            self._container.close()
            self._container = None
        self.source.close()

    def _open(self) -> None:
        if self._container is not None:
            self._container.close()
        self.num_opens += 1
        self._container, self.stream = open_stream(self.source)
        self.codec_context = self.stream.codec_context

    def _scan(self) -> FrameTable:
        """List the packets of the video without decoding them."""
        facts = []
        num_bytes = 0
        length_size = self._find_length_size()
        last_dts = None
        for packet in self._demux():
            if not packet.is_corrupt:
                last_dts = packet.dts
            facts.append(
                Packet(
                    packet.pts,
                    packet.is_keyframe,
                    packet.is_discard,
                    packet.is_corrupt,
                    packet.size,
                    *(read_picture(bytes(packet), length_size=length_size) if length_size else ()),
                )
            )
            num_bytes += packet.size
            if self._held is not None and num_bytes > _MAX_HELD_BYTES:
                self._marks = [_mark_of(held) for held in self._held]
                self._held = None
            if self._held is None:
                self._marks.append(_mark_of(packet))
            else:
                self._held.append(packet)
        num_whole = len(facts) + self._num_empty - bool(facts and facts[-1].is_corrupt)
        lack = find_lack(self.source, self.stream, num_packets=num_whole, last_dts=last_dts)
        if lack:
            raise VideoError(self.source.name, lack)
        vops = self._parse_vops() if self.codec == "mpeg4" and self._held else None
        return build_frame_table(
            facts,
            codec=self.codec,
            reorders=self._reorders(),
            has_display_times=self.source.container not in WITHOUT_DISPLAY_TIMES,
            vops=vops,
        )

    def _find_length_size(self) -> int:
        is_h264 = self.codec == "h264"
        return find_length_size(self.codec_context.extradata or b"") if is_h264 else 0

    def _reorders(self) -> bool:
        return bool(self.codec_context.has_b_frames)

    def _parse_vops(self) -> list[Vop] | None:
        """Return the picture of each packet after unpacking packed ones; None if that fails."""
        assert self._held is not None
        contents = [bytes(packet) for packet in self._held]
        try:
            pictures = list_pictures(contents, head=self.codec_context.extradata or b"")
        except ValueError:
            return None
        for place, (content, (_, own)) in enumerate(zip(contents, pictures, strict=True)):
            if own is not content:
                # Allocated by FFmpeg, since it reads a few bytes past the end.
                self._held[place] = av.Packet(len(own))
                self._held[place].update(own)
        return [vop for vop, _ in pictures]

    def _demux(self) -> Iterator[Any]:
        """Yield the packets of the video up to the first one that FFmpeg cannot parse."""
        num_packets = 0
        with ignore_damage():
            for packet in self._container.demux(self.stream):
                if packet.size:
                    num_packets += 1
                    yield packet
                elif packet.dts is not None:  # FFmpeg's last packet has neither.
                    self._num_empty += 1
                if num_packets > MAX_VIDEO_FRAMES:
                    raise VideoError(self.source.name, f"more than {MAX_VIDEO_FRAMES} frames")

    def _seek(self, number: int) -> Iterator[Any]:
        """Yield packets from a given one on, by seeking or, if that fails, by reading up to it."""
        places = {mark: place for place, mark in enumerate(self._marks)}
        pts, dts = self._marks[number][:2]
        time = pts if dts is None else dts
        if time is None:  # a raw stream
            yield from self._read_again(number)
            return
        with ignore_damage():
            self._container.seek(time, stream=self.stream, backward=True)
            packets = self._demux()
            for packet in packets:
                landed = places.get(_mark_of(packet), number + 1)
                if landed > number:
                    break
                if landed == number:
                    yield packet
                    yield from packets
                    return
        yield from self._read_again(number)

    def _read_again(self, number: int) -> Iterator[Any]:
        """Yield packets from a given one on, after reading from the start up to it."""
        self._open()
        yield from islice(self._demux(), number, None)


def _mark_of(packet: Any) -> _Mark:
    return packet.pts, packet.dts, packet.pos, packet.size
