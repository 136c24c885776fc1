"""Clips of the data path benchmark, built as in training, and exact counts of decoding."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.data_videos import BenchmarkVideo
from videokd.data import dataset
from videokd.data.augment import AugmentSpec
from videokd.data.batch import BadVideo, ClipRequest, ClipSample
from videokd.data.clip_spec import ClipSpec
from videokd.data.dataset import ClipDataset
from videokd.data.decode.reader import VideoReader
from videokd.data.decode.source import VideoFile
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.utils.errors import RunError

CLIP = ClipSpec(num_frames=8, sampling_rate=4, crop_size=112, short_side=128)
FRAME_SIZE = (128, 171)
"""Height and width of the generated videos after the resize to the short side of CLIP."""

# Area of a 112 px square as a share of such a frame: crops are cut without another resize.
_CROP_SHARE = 112 * 112 / (FRAME_SIZE[0] * FRAME_SIZE[1])
_AUGMENT = AugmentSpec(scale_range=(_CROP_SHARE, _CROP_SHARE), ratio_range=(1.0, 1.0))


def make_index(videos: Sequence[BenchmarkVideo], *, num_copies: int = 1) -> VideoIndex:
    """Return an index of the videos, with ``num_copies`` entries of each."""
    records = tuple(VideoRecord(v.path.name, 0, "benchmark", v.name) for v in videos)
    return VideoIndex(
        records * num_copies, ("moving",), videos[0].path.parent, "benchmark", "train"
    )


def make_dataset(index: VideoIndex) -> ClipDataset:
    """Return a dataset of training clips: 8 frames with a step of 4, a random 112 px crop."""
    return ClipDataset([index], clip=CLIP, augment=_AUGMENT, seed=0)


def make_clip_reader(index: VideoIndex, *, num_clips: int) -> Callable[[], list[ClipSample]]:
    """Return a function that reads ``num_clips`` fixed clips of the first record."""
    dataset = make_dataset(index)
    requests = [ClipRequest(0, 0, epoch=0, position=n) for n in range(num_clips)]

    def read() -> list[ClipSample]:
        samples = []
        for request in requests:
            sample = dataset[request]
            check_sample(sample)
            assert isinstance(sample, ClipSample)
            samples.append(sample)
        return samples

    return read


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
