"""Choice of the decoder library for a video."""

import logging
from collections.abc import Callable
from functools import cache

from videokd.data.decode.checked_reader import CheckedReader, FrameLibrary
from videokd.data.decode.decord_frames import DecordFrames
from videokd.data.decode.pyav_reader import PyavReader
from videokd.data.decode.reader import VideoFacts, VideoReader
from videokd.data.decode.source import VideoFile, open_video_file
from videokd.data.decode.torchcodec_frames import TorchcodecFrames, torchcodec_problem
from videokd.utils.errors import InputError, VideoError

_logger = logging.getLogger(__name__)

BACKENDS = ("auto", "decord", "pyav", "torchcodec")
_LIBRARIES: dict[str, Callable[[PyavReader], FrameLibrary]] = {
    "decord": DecordFrames,
    "torchcodec": TorchcodecFrames,
}


def open_video(
    path: str | VideoFile, *, backend: str = "auto", expected_frames: int = 0
) -> VideoReader:
    """Open a video file for reading frames; use it in a `with`.

    "auto" is PyAV: it brings its own FFmpeg, is the only library that reports damage, and needs no
    second decoding as a check. If its FFmpeg has no decoder for the codec, "auto" is torchcodec, if
    that works here. "auto" is never decord, which is unmaintained since 2021, has an FFmpeg (4.1)
    that follows playlists, and silently returns wrong frames after seeking in many files.

    All backends return the same frames, or VideoError is raised. At the size of the video they are
    bit-identical. Scaled frames differ, since only PyAV scales before it converts colours: by 1 to
    3 levels of 255 on average, by more at sharp colour edges.

    Args:
        path: A local file named by the user; or a file opened under a root, as datasets do
            (`source.open_video_file`), which the reader closes.
        backend: "auto", "decord", "pyav" or "torchcodec".
        expected_frames: Number of frames that an index found in this file; 0 if unknown. A file
            with fewer frames is refused. The number also saves a counting pass over files whose
            frames can only be counted by decoding.

    Raises:
        VideoError: the file is not a video, holds no frames or fewer than expected, is too large,
            or is of a kind that this backend does not read exactly.
        InputError: backend is unknown or not available here.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    reader = _open_pyav(path, expected_frames)
    try:
        chosen = _choose(reader) if backend == "auto" else backend
        if chosen == "pyav":
            return reader
        return CheckedReader(checker=reader, library=_LIBRARIES[chosen](reader))
    except BaseException:
        reader.close()
        raise


def probe_video(path: str | VideoFile) -> VideoFacts:
    """Return the facts about a video from demuxing; only its first frame is decoded, for rotation.

    Raises:
        VideoError: same as for `open_video`, or the first frame cannot be decoded.
    """
    with _open_pyav(path, 0) as reader:
        return VideoFacts(
            num_frames=reader.num_frames,
            fps=reader.fps,
            duration_sec=reader.duration_sec,
            height=reader.height,
            width=reader.width,
            codec=reader.file.codec,
            container=reader.file.source.container,
            is_counted=reader.file.table.is_counted,
        )


def _open_pyav(path: str | VideoFile, expected_frames: int) -> PyavReader:
    source = path if isinstance(path, VideoFile) else open_video_file(path)
    return PyavReader(source, expected_frames=expected_frames)


def _choose(reader: PyavReader) -> str:
    source = reader.file.source
    if not reader.file.can_decode and torchcodec_problem():
        raise VideoError(
            source.name,
            "PyAV has no decoder for its codec, and torchcodec cannot be used here "
            f"({torchcodec_problem()})",
        )
    chosen = "pyav" if reader.file.can_decode else "torchcodec"
    _say(chosen, source.container, reader.file.codec)
    return chosen


@cache
def _say(backend: str, container: str, codec: str) -> None:
    """Log a choice, once per process for each kind of file."""
    _logger.info("%s/%s is read with %s", container, codec or "unknown codec", backend)
