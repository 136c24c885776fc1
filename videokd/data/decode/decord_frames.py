"""Reading of frames with decord."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videokd.data.decode.checked_reader import batches
from videokd.data.decode.errors import library_errors
from videokd.data.decode.pyav_reader import PyavReader
from videokd.utils.errors import InputError, VideoError

# Kinds of files for which decord was seen to be right, when read in order and with seeking.
_CONTAINERS = {"asf", "avi", "flv", "matroska", "mov", "mpeg"}
_SEEKABLE = {("mov", "h264"), ("mov", "vp9"), ("matroska", "h264"), ("matroska", "vp9")}


class DecordFrames:
    """decord reader that seeks in files where that is right, and else reads from the start.

    After a seek, decord silently returns wrong frames in MPEG-4 AVI with B-frames (up to 37 frames
    off), in HEVC and in MPEG-PS; in MPEG-TS it always does. Its FFmpeg (4.1) places the chroma
    samples of pictures of odd size or more than 8 bits differently.

    Args:
        checker: The file in PyAV; must stay open.

    Raises:
        InputError: decord is not installed.
        VideoError: decord finds another number of frames, or would give them other colours.
    """

    name = "decord"

    def __init__(self, checker: PyavReader) -> None:
        try:
            import decord
        except ImportError as error:
            raise InputError(f"decord is not installed ({error}); use backend pyav") from error
        source, codec = checker.file.source, checker.file.codec
        if source.container not in _CONTAINERS:
            raise VideoError(source.name, f"decord is not used for {source.container}")
        if not checker.file.is_plain:
            raise VideoError(source.name, "decord is used for 8-bit 4:2:0 video of even size only")
        self._decord = decord
        self._source = source
        self._can_seek = (source.container, codec) in _SEEKABLE
        with library_errors(source.name):
            self._reader: Any = self._open()
            num_seen = len(self._reader)
        if num_seen != checker.num_frames:
            raise VideoError(
                source.name, f"decord sees {num_seen} frames, {checker.num_frames} are shown"
            )

    def read(self, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield (index, frame) for ascending indices; see `FrameLibrary`."""
        if not wanted:
            return
        if self._can_seek:
            for part in batches(wanted):
                yield from zip(part, _to_numpy(self._reader.get_batch(part)), strict=True)
            return
        reader, needed = self._open(), set(wanted)
        for index in range(wanted[-1] + 1):
            frame = reader.next()
            if index in needed:
                yield index, _to_numpy(frame)

    def close(self) -> None:
        """Release the file."""
        self._reader = None

    def _open(self) -> Any:
        return self._decord.VideoReader(self._source.decoder_path, num_threads=1)


def _to_numpy(frames: Any) -> NDArray[np.uint8]:
    # `import pytorchvideo.data` makes decord return torch tensors in the whole process.
    array: NDArray[np.uint8] = frames.asnumpy() if hasattr(frames, "asnumpy") else frames.numpy()
    return array
