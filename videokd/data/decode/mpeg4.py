"""Pictures of an MPEG-4 part 2 stream (XviD, DivX), read from the headers of its packets.

AVI stores one time per packet, and XviD packs two pictures into one packet. So the times that a
demuxer derives for files of UCF101 and HMDB51 are wrong. The coding types alone give the order of
display. Names follow ISO/IEC 14496-2, section 6.2: a VOP is a picture, a VOL the layer that it
belongs to.
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
    """Header of a picture.

    Args:
        kind: "I", "P", "B", or "S" (a sprite, predicted like P).
        is_coded: False if the picture only repeats the last one; decoders skip it.
    """

    kind: str
    is_coded: bool


def list_pictures(packets: Sequence[bytes], *, head: bytes) -> list[tuple[Vop, bytes]]:
    """Return the picture to decode at the position of each packet.

    If a packet holds two pictures (DivX 5's packed bitstream, which XviD writes too), the second
    one is decoded in place of the next packet, and so on up to a packet whose picture is not coded.

    Args:
        packets: Packets in decoding order.
        head: The container's header of the layer (FFmpeg's extradata), or b"".

    Returns:
        One (picture, data) per packet. A picture packed into the last packet is dropped; decoders
        do not show it either.

    Raises:
        ValueError: a header is damaged, or the packing is of another kind.
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
    """Return the rank of each picture in display order.

    A B picture is shown at once, any other picture when the next non-B picture is decoded.

    Args:
        vops: Pictures in decoding order, the first an I.

    Returns:
        0, 1, ... for each picture; -1 for pictures that are not shown, which are not coded or are B
        pictures with only one reference picture before them.
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
    """Parser of the pictures in packets, which keeps the header of their layer."""

    def __init__(self, head: bytes) -> None:
        self._num_time_bits = 0
        self._layer = b""
        self._read_layer(head)

    def parse(self, packet: bytes) -> list[Vop]:
        """Return the pictures in a packet, in decoding order."""
        self._read_layer(packet)
        vops = []
        start = packet.find(_VOP_START)
        while start >= 0:
            vops.append(self._read_vop(packet[start + 4 : start + 4 + _NUM_VOP_BYTES]))
            start = packet.find(_VOP_START, start + 4)
        return vops

    def _read_layer(self, data: bytes) -> None:
        """Read the number of time bits from a layer header before the first VOP, if any."""
        start = data.find(b"\0\0\1")
        while 0 <= start < len(data) - 4:
            if data[start : start + 4] == _VOP_START:
                return
            if data[start + 3] in _LAYER_START_CODES:
                layer = data[start + 4 : start + 4 + _NUM_LAYER_BYTES]
                # Encoders repeat the header at every key frame.
                if layer != self._layer:
                    self._num_time_bits, self._layer = _num_time_bits(layer), layer
            start = data.find(b"\0\0\1", start + 3)

    def _read_vop(self, data: bytes) -> Vop:
        """Read a picture header: kind, whole seconds, marker, time, marker, is_coded."""
        if self._num_time_bits == 0:
            raise ValueError("an MPEG-4 picture without a layer")
        # Parsed as one integer, since reading bit by bit for every picture is slow.
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
    """Return the number of bits of a time, from the resolution in a layer header."""
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
    """Reader of the bits of a few bytes, most significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._num_left = 8 * len(data)

    def read(self, num_bits: int) -> int:
        self._num_left -= num_bits
        if self._num_left < 0:
            raise ValueError("the head of an MPEG-4 layer is cut off")
        return self._value >> self._num_left & ((1 << num_bits) - 1)
