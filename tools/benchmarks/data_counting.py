"""Exact counts of file opens and decoded frames, independent of the machine's load."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from videokd.data import dataset
from videokd.data.batch import BadVideo
from videokd.data.decode.reader import VideoReader
from videokd.data.decode.source import VideoFile
from videokd.utils.errors import RunError


@dataclass
class DecodingCounts:
    """Work done by decoders."""

    num_opens: int = 0
    """Number of times a file was opened."""
    num_frames: int = 0
    """Number of frames that the decoder returned, wanted or not."""


@contextmanager
def count_decoding() -> Iterator[DecodingCounts]:
    """Count the work of all readers opened in the body; the counts are complete at its end."""
    counts = DecodingCounts()
    readers: list[VideoReader] = []
    open_video = dataset.open_video

    def open_and_keep(
        path: str | VideoFile, *, backend: str = "auto", expected_frames: int = 0
    ) -> VideoReader:
        readers.append(open_video(path, backend=backend, expected_frames=expected_frames))
        return readers[-1]

    dataset.open_video = open_and_keep
    try:
        yield counts
    finally:
        dataset.open_video = open_video
        counts.num_opens = sum(reader.num_opens for reader in readers)
        counts.num_frames = sum(reader.num_decoded for reader in readers)


def check_sample(sample: object) -> None:
    """Raise RunError for an unreadable generated video, which would make the measurement void."""
    if isinstance(sample, BadVideo):
        raise RunError(f"generated video {sample.path} cannot be read: {sample.cause}")
