"""Facts about containers: extensions, first bytes, stored times.

Containers have FFmpeg's short names of their demuxers: "mov" is also MP4, "matroska" also WebM.
"""

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
