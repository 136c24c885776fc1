"""Opening of a file with FFmpeg and choice of its video stream, shared by all readers."""

from typing import Any

import av
from av.stream import Disposition

from videokd.data.decode.source import VideoFile
from videokd.utils.errors import VideoError

MAX_FRAME_PX = 8192 * 8192
NO_VIDEO = "no video stream"
_BOX_HEAD_BYTES = 16
_MAX_BOXES = 100_000


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
        if file.container == "mov" and not _has_index(file):
            raise VideoError(
                file.name,
                "cut off or not finished: the index (moov) is missing; "
                "copy, download or record the file again",
            ) from error
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
