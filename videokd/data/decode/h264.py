"""H.264 picture properties, read from packets without decoding.

Names follow ITU-T H.264, sections 7.3.3 and 7.4.1: a packet holds NAL units, some of which are
slices of a picture. Each unit is preceded by its size, as in MP4, Matroska and FLV (ISO/IEC
14496-15).
"""

from typing import NamedTuple

_SLICE_UNITS = range(1, 6)
_PLAIN_SLICE_UNIT = 1
_NUM_SLICE_TYPES = 5
_B_SLICE = 1
_NUM_HEADER_BYTES = 8
_AVCC_VERSION = 1


class Picture(NamedTuple):
    """One coded picture.

    Args:
        is_disposable: Whether no other picture is predicted from it (nal_ref_idc of every slice is
            0).
        is_bidirectional: Whether its first slice is a B slice.
    """

    is_disposable: bool
    is_bidirectional: bool


def find_length_size(head: bytes) -> int:
    """Return the number of bytes of the size before each unit; 0 if units have no size.

    Args:
        head: FFmpeg's extradata.
    """
    is_avcc = len(head) > 4 and head[0] == _AVCC_VERSION
    return (head[4] & 3) + 1 if is_avcc else 0


def read_picture(packet: bytes, *, length_size: int) -> Picture:
    """Read the headers of the slices in a packet.

    Args:
        packet: Packet with one picture.
        length_size: Number of bytes of the size before each unit, > 0.

    Returns:
        The picture; neither disposable nor bidirectional if the packet does not consist of units.
    """
    place, num_slices, num_references, is_bidirectional = 0, 0, 0, False
    while place + length_size < len(packet):
        size = int.from_bytes(packet[place : place + length_size], "big")
        start = place + length_size
        unit = packet[start] & 0x1F
        if unit in _SLICE_UNITS:
            if num_slices == 0 and unit == _PLAIN_SLICE_UNIT:
                is_bidirectional = _is_b_slice(packet[start + 1 : start + 1 + _NUM_HEADER_BYTES])
            num_slices += 1
            num_references += bool(packet[start] & 0x60)
        place = start + size
    is_whole = num_slices > 0 and place == len(packet)
    return Picture(is_whole and num_references == 0, is_whole and is_bidirectional)


def _is_b_slice(header: bytes) -> bool:
    """Return whether a slice header is a B slice's: first_mb_in_slice, slice_type (section 9.1)."""
    bits = "".join(f"{byte:08b}" for byte in header)
    start = slice_type = 0
    for _ in range(2):
        num_zeros = bits.find("1", start) - start
        end = start + 2 * num_zeros + 1
        if num_zeros < 0 or end > len(bits):
            return False
        slice_type = int(bits[start + num_zeros : end], 2) - 1
        start = end
    return slice_type % _NUM_SLICE_TYPES == _B_SLICE
