"""Counts of what a decoder is asked for: exact, whatever else the machine does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from videokd.data import dataset
from videokd.data.batch import BadVideo
from videokd.data.reader import VideoReader
from videokd.data.source import VideoFile
from videokd.utils.errors import RunError


@dataclass
class DecodingCounts:
    """What the decoder was asked for."""

    num_opens: int = 0
    """Openings of a file."""
    num_frames: int = 0
    """Frames that came out of the decoder, wanted or not."""


@contextmanager
def count_decoding() -> Iterator[DecodingCounts]:
    """Add up what the readers that are opened inside count; complete at the end."""
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
    """Raise RunError when a generated video could not be read: nothing would be measured."""
    if isinstance(sample, BadVideo):
        raise RunError(f"generated video {sample.path} cannot be read: {sample.cause}")
