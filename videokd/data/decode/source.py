"""Checks that a file may be decoded: a regular file under the root, of a known container.

Decoder libraries open URLs, playlists, pipes and device files as readily as videos. So every file
passes the checks here first. The decoder is told which container to expect, and it gets the checked
file itself, not its name: the name may refer to another file when it is opened again.

A hard link under the root counts as a file under the root, since the two cannot be told apart.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from videokd.data.decode.container import NUM_HEAD_BYTES, detect_container
from videokd.utils.errors import InputError, ReadError, VideoError

MAX_VIDEO_BYTES = 16 * 2**30
_NUM_SHOWN_BYTES = 12
# Path lookup needs no right to list a folder, so use O_PATH where it exists.
_FOLDER_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class VideoFile:
    """An open regular file that starts like a video. Close it, or use it in a `with`.

    Args:
        name: Name of the file as the user gave it, for messages.
        real_path: Absolute path without links.
        descriptor: File descriptor, open for reading; closed with this object.
        container: FFmpeg's short name of the demuxer, e.g. "mov" (also for MP4), "avi", "matroska".
    """

    def __init__(self, name: str, real_path: str, descriptor: int, container: str) -> None:
        self.name = name
        self.real_path = real_path
        self.container = container
        self._descriptor = descriptor

    @property
    def decoder_path(self) -> str:
        """Path for a decoder to open, which refers to this open file even if the name is replaced.

        The path is absolute, so that no part of it can be taken for a protocol. Systems without
        /proc get the real path; there, anyone who may rename files under the root can still swap
        the file.
        """
        path = f"/proc/self/fd/{self._descriptor}"
        return path if os.path.exists(path) else self.real_path

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return os.fstat(self._descriptor).st_size

    def read_bytes(self, num_bytes: int, *, start: int = 0) -> bytes:
        """Return bytes of the file, fewer if it ends earlier."""
        return os.pread(self._descriptor, num_bytes, start)

    def duplicate(self) -> "VideoFile":
        """Return a second handle of the open file, to be closed separately."""
        return VideoFile(self.name, self.real_path, os.dup(self._descriptor), self.container)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_video_file(
    path: str | Path, *, root: Path | None = None, max_bytes: int = MAX_VIDEO_BYTES
) -> VideoFile:
    """Open a file after checking that it may be opened as a video.

    Links are resolved first. The result is then opened folder by folder without following links, so
    that a folder or file replaced by a link meanwhile is refused.

    Args:
        path: The file; relative to root if there is one.
        root: Folder that the file must be in, possibly a link itself. None: the user named this
            file, which may be anywhere and be a link.
        max_bytes: Largest accepted file size.

    Raises:
        VideoError: the file is missing, leaves the root (also through a link), is not a regular
            file, is empty, too large, or not of a known container.
    """
    name = str(path)
    with _file_errors(name):
        folder, parts = _resolve(name, root)
        descriptor = _open_beneath(name, folder, parts)
        try:
            container = _check_content(name, descriptor, max_bytes)
        except BaseException:
            os.close(descriptor)
            raise
    return VideoFile(name, os.path.join(folder, *parts), descriptor, container)


def check_folder_inside(root: Path, relative: str) -> None:
    """Check that a folder to list for videos is under root after resolving links.

    Files in a folder outside root would all be refused; this check reports it before the search.

    Raises:
        InputError: the folder is outside the root.
    """
    try:
        real_root, real = os.path.realpath(root), os.path.realpath(root / relative)
    except (OSError, ValueError):
        return  # nothing that could be listed
    if os.path.commonpath([real_root, real]) != real_root:
        raise InputError(
            f"{root / relative} leads out of {root}, to {real}; videos are read under their root "
            "only: set it to a folder above all of them"
        )


def _resolve(name: str, root: Path | None) -> tuple[str, Sequence[str]]:
    """Return a real folder and the path from it to the file, without links or `..`."""
    if root is None:
        folder, last = os.path.split(os.path.realpath(name, strict=True))
        return folder, [last]
    real_root = os.path.realpath(root, strict=True)
    real = os.path.realpath(os.path.join(real_root, name), strict=True)
    if os.path.commonpath([real_root, real]) != real_root:
        raise VideoError(name, f"leaves the folder of the dataset, {root}")
    return real_root, os.path.relpath(real, real_root).split(os.sep)


def _open_beneath(name: str, folder: str, parts: Sequence[str]) -> int:
    """Open a regular file without following a link or blocking."""
    inner = os.open(folder, _FOLDER_FLAGS)
    try:
        for part in parts[:-1]:
            outer, inner = inner, os.open(part, _FOLDER_FLAGS, dir_fd=inner)
            os.close(outer)
        # Checked before opening, since opening a device may trigger an action.
        _check_regular(name, os.stat(parts[-1], dir_fd=inner, follow_symlinks=False))
        return os.open(parts[-1], _FILE_FLAGS, dir_fd=inner)
    finally:
        os.close(inner)


def _check_content(name: str, descriptor: int, max_bytes: int) -> str:
    info = os.fstat(descriptor)
    _check_regular(name, info)
    if info.st_size == 0:
        raise VideoError(name, "empty file")
    if info.st_size > max_bytes:
        raise VideoError(name, f"{info.st_size} bytes, allowed are {max_bytes}")
    head = os.pread(descriptor, NUM_HEAD_BYTES, 0)
    container = detect_container(head)
    if not container:
        raise VideoError(name, f"not a video file, starts with {head[:_NUM_SHOWN_BYTES]!r}")
    return container


def _check_regular(name: str, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise VideoError(name, "not a regular file")


@contextmanager
def _file_errors(name: str) -> Iterator[None]:
    """Convert system errors to ReadError, and errors about an impossible name to VideoError."""
    try:
        yield
    except VideoError:
        raise
    except OSError as error:
        raise ReadError(name, error.strerror or type(error).__name__) from error
    except (ValueError, RecursionError) as error:  # a NUL or bad character; a chain of links
        raise VideoError(name, str(error) or type(error).__name__) from error
