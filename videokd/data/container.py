"""A video file opened for one pass over its packets: to check it, or to write it anew.

For frames at given indices there is `decode.open_video`; this is for who wants to see everything
that is in a file, damage included.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videokd.data.decode import MAX_VIDEO_FRAMES
from videokd.data.decode.errors import library_errors
from videokd.data.decode.streams import open_stream
from videokd.data.source import VideoFile, open_video_file
from videokd.utils.errors import VideoError


@dataclass(frozen=True, slots=True)
class OpenContainer:
    """An open file and its video stream, as PyAV has them.

    Args:
        file: The file; open for as long as this is.
        container: PyAV's view of it.
        stream: The chosen video stream. One thread decodes it.
    """

    file: VideoFile
    container: Any
    stream: Any

    @property
    def path(self) -> str:
        """The file, as messages name it."""
        return self.file.name

    @property
    def format(self) -> str:
        """FFmpeg's short name of the container, e.g. "mov", "avi", "matroska"."""
        return self.file.container

    def demux(self) -> Iterator[Any]:
        """Give the packets of the stream, empty ones included, in the order of decoding.

        Raises:
            VideoError: there are more than MAX_VIDEO_FRAMES.
            av.FFmpegError: the container is damaged here.
        """
        for number, packet in enumerate(self.container.demux(self.stream)):
            if number > MAX_VIDEO_FRAMES:
                raise VideoError(self.path, f"more than {MAX_VIDEO_FRAMES} frames")
            # FFmpeg ends a stream with a packet that is none.
            if packet.size or packet.dts is not None:
                yield packet


@contextmanager
def open_container(source: Path | VideoFile) -> Iterator[OpenContainer]:
    """Open a local video file.

    Args:
        source: A file that the user named; or one that was opened under a root
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
        if stream.codec_context is None:
            raise VideoError(name, "unknown codec")
        yield OpenContainer(file, container, stream)
