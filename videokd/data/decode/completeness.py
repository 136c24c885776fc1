"""Signs of a file that ends before its header says, such as a half-finished download."""

from typing import Any

from videokd.data.decode.source import VideoFile

# AVI headers of intact files are off by a frame or two.
_MAX_LACKING_AVI_FRAMES = 2
_MAX_LACKING_AVI_SHARE = 0.02
_NUM_SEGMENT_HEAD_BYTES = 1024
_SEGMENT_ID = b"\x18\x53\x80\x67"
_BOX_HEAD_BYTES = 16
_MAX_BOXES = 100_000


def find_lack(file: VideoFile, stream: Any, *, num_packets: int, last_dts: int | None) -> str:
    """Return a line about missing packets, such as the end of a download; "" if none are missing.

    MP4 and MOV list every packet, except those that an edit list removes. An AVI header states a
    number that includes empty packets, which FFmpeg counts in its times but does not return.
    Matroska states its size in bytes. Other containers promise nothing.

    Args:
        file: The file.
        stream: PyAV's stream, all of whose packets were read.
        num_packets: Number of whole packets, empty ones included.
        last_dts: Decoding time of the last whole packet, in stream units.
    """
    if file.container == "matroska":
        promised = _find_matroska_bytes(file)
        if file.num_bytes < promised:
            return f"cut off: {file.num_bytes} of {promised} bytes; copy or download the file again"
        return ""
    promised, found, tolerance = 0, num_packets, 0.0
    if file.container == "mov":
        promised = len(stream.index_entries)
    elif file.container == "avi":
        promised = stream.frames
        found = max(num_packets, 0 if last_dts is None else last_dts + 1)
        tolerance = max(_MAX_LACKING_AVI_FRAMES, _MAX_LACKING_AVI_SHARE * promised)
    if promised - found > tolerance:
        return f"cut off: {found} of {promised} frames; copy or download the file again"
    return ""


def _find_matroska_bytes(file: VideoFile) -> int:
    """Return the size of a Matroska file as stated by its segment; 0 if it is not stated."""
    head = file.read_bytes(_NUM_SEGMENT_HEAD_BYTES)
    start = head.find(_SEGMENT_ID) + len(_SEGMENT_ID)
    if start < len(_SEGMENT_ID) or start >= len(head) or not head[start]:
        return 0
    # The number of leading zero bits is the number of bytes that follow; all ones means unknown.
    num_bytes = 9 - head[start].bit_length()
    mask = (1 << 7 * num_bytes) - 1
    size = int.from_bytes(head[start : start + num_bytes], "big") & mask
    return 0 if size == mask else start + num_bytes + size


def find_missing_index(file: VideoFile) -> str:
    """Return a line about an MP4 that lacks its index; "" for any other file."""
    if file.container != "mov" or _has_index(file):
        return ""
    return (
        "cut off or not finished: the index (moov) is missing; "
        "copy, download or record the file again"
    )


def _has_index(file: VideoFile) -> bool:
    """Return whether an MP4 has a moov box at its top level."""
    start = 0
    for _ in range(_MAX_BOXES):
        head = file.read_bytes(_BOX_HEAD_BYTES, start=start)
        if len(head) < 8:
            return False
        if head[4:8] == b"moov":
            return True
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8:  # 0: up to the end of the file
            return False
        start += size
    return False
