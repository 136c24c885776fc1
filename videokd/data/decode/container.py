"""Facts about containers: extensions, first bytes, stored times, and signs of a cut-off file.

Containers have FFmpeg's short names of their demuxers: "mov" is also MP4, "matroska" also WebM.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videokd.data.decode.source import VideoFile

# Extensions of the containers that `detect_container` knows.
VIDEO_EXTENSIONS = (
    *(".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".h264"),
    *(".h265", ".hevc", ".m1v", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg"),
    *(".mpg", ".mts", ".ogm", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv"),
)
# Containers that store decoding times only.
WITHOUT_DISPLAY_TIMES = ("avi",)

_MPEGTS_PACKET_BYTES = 188
# In .m2ts, a time code of 4 bytes precedes each packet.
_M2TS_PACKET_BYTES = 192
# Number of bytes that `detect_container` needs.
NUM_HEAD_BYTES = 2 * _M2TS_PACKET_BYTES + 5
# First bytes of the first unit of a raw stream: parameter sets, messages or a delimiter.
_H264_UNITS = {b"\x67", b"\x47", b"\x27", b"\x06", b"\x09"}
_HEVC_UNITS = {b"\x40\x01", b"\x42\x01", b"\x46\x01", b"\x4e\x01"}

# (offset, bytes, FFmpeg's name of the container); the first match wins. The bytes are long enough
# that FFmpeg's own guess, which decord relies on, agrees: no playlist starts like this.
_MAGIC = (
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"free", "mov"),
    (4, b"wide", "mov"),
    (4, b"skip", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"\x00\x00\x01\xb3", "mpegvideo"),
    (0, b"OggS\0", "ogg"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
)

# AVI headers of intact files are off by a frame or two.
_MAX_LACKING_AVI_FRAMES = 2
_MAX_LACKING_AVI_SHARE = 0.02
_NUM_SEGMENT_HEAD_BYTES = 1024
_SEGMENT_ID = b"\x18\x53\x80\x67"
_BOX_HEAD_BYTES = 16
_MAX_BOXES = 100_000


def detect_container(head: bytes) -> str:
    """Return the container that a file's first NUM_HEAD_BYTES bytes belong to; "" if unknown."""
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "avi"
    if head[:4] == b"FLV\x01" and head[5:9] == b"\0\0\0\x09":
        return "flv"
    for offset, magic, container in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return container
    for offset, packet_bytes in ((0, _MPEGTS_PACKET_BYTES), (4, _M2TS_PACKET_BYTES)):
        if head[offset::packet_bytes][:3] == b"GGG":
            return "mpegts"
    return _raw_stream_of(head)


def _raw_stream_of(head: bytes) -> str:
    """Return "h264" or "hevc" for a raw stream of these, else ""."""
    zeros, start_code, unit = head[:64].partition(b"\x01")
    if not start_code or zeros not in (bytes(2), bytes(3)):
        return ""
    if unit[:2] in _HEVC_UNITS:
        return "hevc"
    return "h264" if unit[:1] in _H264_UNITS else ""


def find_lack(file: "VideoFile", stream: Any, *, num_packets: int, last_dts: int | None) -> str:
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


def _find_matroska_bytes(file: "VideoFile") -> int:
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


def find_missing_index(file: "VideoFile") -> str:
    """Return a line about an MP4 that lacks its index; "" for any other file."""
    if file.container != "mov" or _has_index(file):
        return ""
    return (
        "cut off or not finished: the index (moov) is missing; "
        "copy, download or record the file again"
    )


def _has_index(file: "VideoFile") -> bool:
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
