"""Single-pass access to all packets of a video file, for checking and transcoding.

Use `decode.open_video` to read frames at given indices. This module also exposes the damaged parts
of a file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videokd.data.decode import MAX_VIDEO_FRAMES
from videokd.data.decode.errors import library_errors
from videokd.data.decode.source import VideoFile, open_video_file
from videokd.data.decode.streams import open_stream
from videokd.utils.errors import VideoError


@dataclass(frozen=True, slots=True)
class OpenContainer:
    """An open file and its video stream, as PyAV objects.

    Args:
        file: The file; stays open as long as this object is in use.
        container: PyAV container of the file.
        stream: The chosen video stream, decoded by one thread.
    """

    file: VideoFile
    container: Any
    stream: Any

    @property
    def path(self) -> str:
        """Name of the file in messages."""
        return self.file.name

    @property
    def format(self) -> str:
        """FFmpeg's short name of the container, e.g. "mov", "avi", "matroska"."""
        return self.file.container

    def demux(self) -> Iterator[Any]:
        """Yield the packets of the stream in decoding order, including empty ones.

        Raises:
            VideoError: there are more than MAX_VIDEO_FRAMES.
            av.FFmpegError: the container is damaged at this point.
        """
        for number, packet in enumerate(self.container.demux(self.stream)):
            if number > MAX_VIDEO_FRAMES:
                raise VideoError(self.path, f"more than {MAX_VIDEO_FRAMES} frames")
            # PyAV ends a stream with a flush packet, which has neither data nor a time.
            if packet.size or packet.dts is not None:
                yield packet


@contextmanager
def open_container(source: Path | VideoFile) -> Iterator[OpenContainer]:
    """Open a local video file.

    Args:
        source: Path of a file named by the user, or a file opened under a root
            (`source.open_video_file`), which stays open.

    Raises:
        VideoError: the file is not a video, has no video stream, or its frames are too large.
    """
    file = source.duplicate() if isinstance(source, VideoFile) else open_video_file(source)
    with file, _open_checked(file) as opened:
        yield opened


@contextmanager
def _open_checked(file: VideoFile) -> Iterator[OpenContainer]:
    name = file.name
    with library_errors(name):
        container, stream = open_stream(file)
    with container:
        yield OpenContainer(file, container, stream)
