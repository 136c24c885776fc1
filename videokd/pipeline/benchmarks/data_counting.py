"""Counts of what a decoder is asked for: exact, whatever else the machine does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from videokd.data import decode
from videokd.data.batch import BadVideo
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
    """Count what PyAV readers do inside."""
    counts = DecodingCounts()
    reader: Any = decode._PyavReader
    open_file, decode_packets = reader._open, reader._decode

    def open_and_count(self: Any) -> None:
        counts.num_opens += 1
        open_file(self)

    def decode_and_count(self: Any, packets: Any) -> Iterator[Any]:
        for frame in decode_packets(self, packets):
            counts.num_frames += 1
            yield frame

    reader._open, reader._decode = open_and_count, decode_and_count
    try:
        yield counts
    finally:
        reader._open, reader._decode = open_file, decode_packets


def check_sample(sample: object) -> None:
    """Raise RunError when a generated video could not be read: nothing would be measured."""
    if isinstance(sample, BadVideo):
        raise RunError(f"generated video {sample.path} cannot be read: {sample.cause}")
