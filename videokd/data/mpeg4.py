"""The pictures of an MPEG-4 part 2 stream (XviD, DivX), read from the heads of its packets.

AVI knows one time per packet, and XviD packs two pictures into one packet: the times that a
demuxer makes up for UCF101's and HMDB51's files are wrong. The order of display follows from the
coding types alone. Names are those of ISO/IEC 14496-2, section 6.2: a VOP is a picture, a VOL the
layer that it belongs to.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_VOP_START = b"\0\0\1\xb6"
_LAYER_START_CODES = range(0x20, 0x30)
_VOP_TYPES = "IPBS"
_EXTENDED_PIXEL_ASPECT = 15
_NUM_BITS_OF_BUFFER_PARAMETERS = 79
_NUM_LAYER_BYTES = 64
_NUM_VOP_BYTES = 16


class Vop(NamedTuple):
    """The head of a picture.

    Args:
        kind: "I", "P", "B", or "S" (a sprite, predicted like P).
        is_coded: False where the picture says no more than "as the last one"; decoders skip it.
    """

    kind: str
    is_coded: bool


def list_pictures(packets: Sequence[bytes], *, head: bytes) -> list[tuple[Vop, bytes]]:
    """Find the picture to decode in the place of each packet.

    Where one packet brings two pictures (DivX 5's packed bitstream, which XviD writes too), the
    second is decoded in place of the packets that follow, up to one with a picture not coded.

    Args:
        packets: In the order of decoding.
        head: What the container knows of the layer (FFmpeg's extradata), or b"".

    Returns:
        As many (picture, data) as packets. A picture that is packed into the last packet has no
        place; decoders do not show it either.

    Raises:
        ValueError: a head is damaged, or the packing is not of this kind.
    """
    parser = _VopParser(head)
    pictures = []
    waiting: tuple[Vop, bytes] | None = None
    for packet in packets:
        vops = parser.parse(packet)
        if len(vops) > (1 if waiting else 2) or not vops:
            raise ValueError(f"{len(vops)} pictures in an MPEG-4 packet")
        if waiting:
            pictures.append(waiting)
            if vops[0].is_coded and vops[0].kind != "B":
                raise ValueError("MPEG-4 pictures are packed without a place to go to")
            waiting = (vops[0], packet) if vops[0].is_coded else None
        elif len(vops) == 2:
            second = packet.find(_VOP_START, packet.find(_VOP_START) + 1)
            pictures.append((vops[0], packet[:second]))
            waiting = vops[1], packet[second:]
        else:
            pictures.append((vops[0], packet))
    return pictures


def display_ranks(vops: Sequence[Vop]) -> NDArray[np.int64]:
    """Number pictures in the order of display.

    A B picture is shown at once, any other when the next of these comes.

    Args:
        vops: In the order of decoding, the first an I.

    Returns:
        One number for each, 0, 1, ...; -1 for those that are not shown: not coded, or B pictures
        that lack the one before the first.
    """
    ranks = np.full(len(vops), -1, np.int64)
    num_shown, waiting, num_anchors = 0, -1, 0
    for place, vop in enumerate(vops):
        if not vop.is_coded:
            continue
        if vop.kind == "B":
            if num_anchors < 2:
                continue
            ranks[place] = num_shown
        else:
            num_anchors += 1
            waiting, place = place, waiting
            if place < 0:
                continue
            ranks[place] = num_shown
        num_shown += 1
    if waiting >= 0:
        ranks[waiting] = num_shown
    return ranks


class _VopParser:
    """Finds the pictures of packets, having seen the layer that they belong to."""

    def __init__(self, head: bytes) -> None:
        self._num_time_bits = 0
        self._layer = b""
        self._read_layer(head)

    def parse(self, packet: bytes) -> list[Vop]:
        """List the pictures in a packet, in the order of decoding."""
        self._read_layer(packet)
        vops = []
        start = packet.find(_VOP_START)
        while start >= 0:
            vops.append(self._read_vop(packet[start + 4 : start + 4 + _NUM_VOP_BYTES]))
            start = packet.find(_VOP_START, start + 4)
        return vops

    def _read_layer(self, data: bytes) -> None:
        """Learn how many bits a time has, where the head of a layer comes before the first VOP."""
        start = data.find(b"\0\0\1")
        while 0 <= start < len(data) - 4:
            if data[start : start + 4] == _VOP_START:
                return
            if data[start + 3] in _LAYER_START_CODES:
                layer = data[start + 4 : start + 4 + _NUM_LAYER_BYTES]
                # Encoders repeat it at every key frame.
                if layer != self._layer:
                    self._num_time_bits, self._layer = _num_time_bits(layer), layer
            start = data.find(b"\0\0\1", start + 3)

    def _read_vop(self, data: bytes) -> Vop:
        """Read kind, seconds since the last picture, marker, time, marker, and whether coded."""
        if self._num_time_bits == 0:
            raise ValueError("an MPEG-4 picture without a layer")
        # One number, not bit by bit: this is done for every picture of a video.
        value, end = int.from_bytes(data, "big"), 8 * len(data) - 2
        kind = value >> max(end, 0)
        while end > 0 and value >> (end - 1) & 1:
            end -= 1
        last = end - self._num_time_bits - 4
        if last < 0:
            raise ValueError("the head of an MPEG-4 picture is cut off")
        if not (value >> (end - 2) & 1 and value >> (last + 1) & 1):
            raise ValueError("the head of an MPEG-4 picture is damaged")
        return Vop(_VOP_TYPES[kind], value >> last & 1 == 1)


def _num_time_bits(data: bytes) -> int:
    """Read the head of a layer up to the resolution of its times."""
    bits = _Bits(data)
    bits.read(9)
    version = 1
    if bits.read(1):
        version = bits.read(4)
        bits.read(3)
    if bits.read(4) == _EXTENDED_PIXEL_ASPECT:
        bits.read(16)
    if bits.read(1):
        bits.read(3)
        if bits.read(1):
            bits.read(_NUM_BITS_OF_BUFFER_PARAMETERS)
    if bits.read(2) == 3 and version != 1:
        bits.read(4)
    bits.read(1)
    return max(1, (bits.read(16) - 1).bit_length())


class _Bits:
    """The bits of a few bytes, first the highest."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._num_left = 8 * len(data)

    def read(self, num_bits: int) -> int:
        self._num_left -= num_bits
        if self._num_left < 0:
            raise ValueError("the head of an MPEG-4 layer is cut off")
        return self._value >> self._num_left & ((1 << num_bits) - 1)
