"""Opening of a video with the chosen decoder library."""

from videokd.data.decode.errors import library_errors
from videokd.data.decode.libraries import READS, LibraryReader
from videokd.data.decode.packets import PacketFile
from videokd.data.decode.pyav_reader import PyavReader
from videokd.data.decode.reader import VideoFacts, VideoReader
from videokd.data.decode.source import VideoFile, open_video_file
from videokd.utils.errors import InputError

BACKENDS = ("auto", "pyav", *READS)


def open_video(
    path: str | VideoFile, *, backend: str = "auto", expected_frames: int = 0
) -> VideoReader:
    """Open a video file for reading frames; use it in a `with`.

    "auto" is PyAV: it brings its own FFmpeg, reads all files that FFmpeg can decode, and is the
    only library that reports damage. docs/decoders.md compares the libraries.

    decord and torchcodec read only the kinds of files for which their frames are known to equal
    PyAV's bit for bit (`libraries.READS`). Scaled frames differ, since only PyAV scales before it
    converts colours: by 1 to 3 levels of 255 on average, by more at sharp colour edges.

    Args:
        path: A local file named by the user; or a file opened under a root, as datasets do
            (`source.open_video_file`), which the reader closes.
        backend: "auto", "pyav", "decord" or "torchcodec".
        expected_frames: Number of frames that an index found in this file; 0 if unknown. A file
            with fewer frames is refused. The number also saves a counting pass over files whose
            frames can only be counted by decoding.

    Raises:
        VideoError: the file is not a video, holds no frames or fewer than expected, is too large,
            or is of a kind that this backend does not read.
        InputError: backend is unknown or not available here.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    file = _open_packets(path)
    if backend in READS:
        return LibraryReader(backend, file, expected_frames=expected_frames)
    return PyavReader(file, expected_frames=expected_frames)


def probe_video(path: str | VideoFile) -> VideoFacts:
    """Return the facts about a video from demuxing; only its first frame is decoded, for rotation.

    Raises:
        VideoError: same as for `open_video`, or the first frame cannot be decoded.
    """
    with PyavReader(_open_packets(path)) as reader:
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


def _open_packets(path: str | VideoFile) -> PacketFile:
    source = path if isinstance(path, VideoFile) else open_video_file(path)
    with library_errors(source.name):
        return PacketFile(source)
