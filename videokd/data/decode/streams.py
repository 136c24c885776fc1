"""Opening of a file with FFmpeg and choice of its video stream.

Use `decode.open_video` to read frames at given indices. `open_container` gives access to all
packets in one pass, including the damaged parts of a file, for checking and transcoding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from videokd.data.decode.completeness import find_missing_index
from videokd.data.decode.errors import library_errors
from videokd.data.decode.source import VideoFile, open_video_file
from videokd.utils.errors import VideoError

MAX_FRAME_PX = 8192 * 8192
MAX_VIDEO_FRAMES = 4_000_000
NO_VIDEO = "no video stream"


def open_stream(file: VideoFile) -> tuple[Any, Any]:
    """Return PyAV's container of a file, which the caller closes, and the chosen video stream.

    One thread decodes the stream, since loader workers run in parallel.

    Raises:
        VideoError: the file has no video stream, no index, an unknown codec, or frames that are too
            large.
        av.FFmpegError: the file is damaged, or cannot be read.
    """
    try:
        container = av.open(
            file.decoder_path,
            format=file.container,
            container_options={"protocol_whitelist": "file"},
        )
    except av.error.InvalidDataError as error:
        if cause := find_missing_index(file):
            raise VideoError(file.name, cause) from error
        raise
    try:
        stream = choose_stream(file.name, container)
        if stream.codec_context is None:
            raise VideoError(file.name, "PyAV has no decoder for its codec")
        _set_up(file.name, stream.codec_context)
    except BaseException:
        container.close()
        raise
    return container, stream


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


def choose_stream(name: str, container: Any) -> Any:
    """Return the video stream to read.

    Cover pictures are ignored, and a single picture is read only if there is no other stream. Among
    several streams, FFmpeg's best one (av_find_best_stream) is chosen: flagged as default, then
    highest bit rate.

    Raises:
        VideoError: there is no video stream.
    """
    streams = list_streams(container)
    if not streams:
        only_cover = " (a cover picture only)" if container.streams.video else ""
        raise VideoError(name, NO_VIDEO + only_cover)
    moving = [stream for stream in streams if stream.frames != 1] or streams
    best = container.streams.best("video")
    return best if best in moving else moving[0]


def list_streams(container: Any) -> list[Any]:
    """Return the video streams, excluding cover pictures."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def describe_choice(container: Any, stream: Any) -> str:
    """Return a line about the stream that is read; "" if it is the only one."""
    streams = list_streams(container)
    if len(streams) < 2:
        return ""
    others = ", ".join(_describe(other) for other in streams if other is not stream)
    return f"{_describe(stream)} is read, not {others}"


def _describe(stream: Any) -> str:
    codec = stream.codec_context.name if stream.codec_context else "unknown codec"
    return f"stream {stream.index} ({codec} {stream.width}x{stream.height})"


def _set_up(name: str, context: Any) -> None:
    if context.width * context.height > MAX_FRAME_PX:
        raise VideoError(
            name, f"{context.width}x{context.height} pixels, allowed are {MAX_FRAME_PX} in all"
        )
    context.thread_type = "NONE"
    context.thread_count = 1
    # The size above is from the container; the decoder must respect the limit too.
    # err_detect=explode is not set, since it also fails on frames whose references are missing
    # after a seek.
    context.options = {"max_pixels": str(MAX_FRAME_PX)}
