"""Which pictures of an H.264 stream no other picture needs, read from the heads of its packets.

Names are those of ITU-T H.264, section 7.4.1: a packet holds NAL units, some of which are slices
of a picture. Here each unit follows its size, as in MP4, Matroska and FLV (ISO/IEC 14496-15).
"""

_SLICE_TYPES = range(1, 6)
_AVCC_VERSION = 1


def find_length_size(head: bytes) -> int:
    """Read how many bytes the size of a unit has; 0 where units do not follow their sizes.

    Args:
        head: FFmpeg's extradata.
    """
    is_avcc = len(head) > 4 and head[0] == _AVCC_VERSION
    return (head[4] & 3) + 1 if is_avcc else 0


def is_disposable(packet: bytes, *, length_size: int) -> bool:
    """Say whether no slice in a packet is for reference (nal_ref_idc is 0).

    Args:
        packet: One picture.
        length_size: Bytes of the size before each unit, > 0.

    Returns:
        False also where the packet is not made up of units.
    """
    place, has_slices = 0, False
    while place + length_size < len(packet):
        size = int.from_bytes(packet[place : place + length_size], "big")
        unit = packet[place + length_size]
        if unit & 0x1F in _SLICE_TYPES:
            has_slices = True
            if unit & 0x60:
                return False
        place += length_size + size
    return has_slices and place == len(packet)
