"""Reading of frames with torchcodec, which needs FFmpeg's shared libraries on the machine."""

import io
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from videokd.data.decode.checked_reader import batches
from videokd.data.decode.errors import library_errors, short_cause
from videokd.data.decode.pyav_reader import PyavReader
from videokd.utils.errors import InputError, VideoError


@cache
def torchcodec_problem() -> str:
    """Return the reason why torchcodec cannot be used here; "" if it can.

    Decodes a tiny video, since torchcodec may be importable without FFmpeg.
    """
    try:
        _make_decoder(_make_tiny_video()).get_frames_at([0])
    except Exception as error:  # Any error of importing, loading or decoding.
        return short_cause(error)
    return ""


class TorchcodecFrames:
    """torchcodec reader that verifies the time of each returned frame.

    Args:
        checker: The file through PyAV; must stay open.

    Raises:
        InputError: torchcodec cannot be used here.
        VideoError: torchcodec finds another number of frames, or the container has no frame times.
    """

    name = "torchcodec"

    def __init__(self, checker: PyavReader) -> None:
        problem = torchcodec_problem()
        if problem:
            raise InputError(f"torchcodec cannot be used here ({problem}); use backend pyav")
        file, start_sec = checker.file, checker.file.start_sec
        self._path = file.source.name
        if start_sec is None:
            raise VideoError(
                self._path, "torchcodec needs times, which this container does not have"
            )
        self._times = start_sec + checker.times
        with library_errors(self._path):
            self._decoder: Any = _make_decoder(
                file.source.decoder_path, stream_index=file.stream.index
            )
            num_seen = len(self._decoder)
        if num_seen != checker.num_frames:
            raise VideoError(
                self._path, f"torchcodec sees {num_seen} frames, {checker.num_frames} are shown"
            )

    def read(self, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield (index, frame) for ascending indices; see `checked_reader.FrameLibrary`."""
        for part in batches(wanted):
            batch = self._decoder.get_frames_at(part)
            for index, frame, time in zip(part, batch.data, batch.pts_seconds, strict=True):
                found = int(np.abs(self._times - float(time)).argmin())
                if found != index:
                    raise VideoError(self._path, f"torchcodec gives frame {found} for {index}")
                yield index, frame.numpy()

    def close(self) -> None:
        """Release the file."""
        self._decoder = None


def _make_decoder(source: str | bytes, *, stream_index: int | None = None) -> Any:
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(
        source,
        stream_index=stream_index,
        dimension_order="NHWC",
        num_ffmpeg_threads=1,
        seek_mode="exact",
    )


def _make_tiny_video() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    return file.getvalue()
