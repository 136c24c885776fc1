"""Which files may be handed to a decoder: regular files under the root, of a known container.

A decoder library opens URLs, playlists, pipes and device files as readily as videos. Nothing
reaches it before the checks here, and it is told which container to expect.
"""

import os
import stat
from pathlib import Path

from videokd.utils.errors import VideoError

MAX_VIDEO_BYTES = 16 * 2**30
_NUM_MAGIC_BYTES = 12
_MPEGTS_PACKET_BYTES = 188

# (offset, bytes, FFmpeg's name of the container). First match wins.
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
    (0, b"FLV\x01", "flv"),
    (0, b"OggS", "ogg"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
)


def check_video_file(root: Path, relative: str, *, max_bytes: int = MAX_VIDEO_BYTES) -> Path:
    """Resolve a record's path and check that it may be opened as a video.

    Args:
        root: Folder of the dataset. It may itself be a link.
        relative: Path under root, with forward slashes.
        max_bytes: Largest file that is accepted.

    Returns:
        Absolute path of a regular file under root that starts like a video.

    Raises:
        VideoError: the file is missing, leaves the root (also through a link), is not a regular
            file, is empty, too large, or not of a known container.
    """
    try:
        path = (root / relative).resolve(strict=True)
        is_inside = path.is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise VideoError(relative, _short_cause(error)) from error
    if not is_inside:
        raise VideoError(relative, f"leaves the folder of the dataset, {root}")
    sniff_container(path, max_bytes=max_bytes)
    return path


def sniff_container(path: Path, *, max_bytes: int = MAX_VIDEO_BYTES) -> str:
    """Read the first bytes of a file and name its container.

    Returns:
        FFmpeg's short name of the demuxer, e.g. "mov" (also for MP4), "avi", "matroska".

    Raises:
        VideoError: as in `check_video_file`, apart from the root.
    """
    name = str(path)
    try:
        info = path.stat()
        # Before opening: opening a pipe waits for its writer, a device may act on being opened.
        if not stat.S_ISREG(info.st_mode):
            raise VideoError(name, "not a regular file")
        if info.st_size == 0:
            raise VideoError(name, "empty file")
        if info.st_size > max_bytes:
            raise VideoError(name, f"{info.st_size} bytes, allowed are {max_bytes}")
        with path.open("rb") as file:
            head = file.read(_MPEGTS_PACKET_BYTES + 1)
    except (OSError, ValueError) as error:
        raise VideoError(name, _short_cause(error)) from error
    container = _container_of(head)
    if not container:
        raise VideoError(name, f"not a video file, starts with {head[:_NUM_MAGIC_BYTES]!r}")
    return container


def _container_of(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "avi"
    for offset, magic, container in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return container
    if head[:1] == b"G" and head[_MPEGTS_PACKET_BYTES:] == b"G":
        return "mpegts"
    return ""


def _short_cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
