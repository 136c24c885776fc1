"""Readers of the same clips with other libraries, used as their documentation shows.

pytorchvideo: `LabeledVideoDataset` with its PyAV reader and without sound. Its transforms do not
import with current torchvision, so plain functions replace them, in the cheaper order (frames are
picked before they are scaled). The steps before that are pytorchvideo's own: it reads the whole
file into memory, converts every frame of the clip's span to RGB and to float32 at full size, and
decodes a container without a duration (WebM) from end to end to find it.

decord: `VideoReader(path, num_threads=1).get_batch`, frames at full size or scaled by decord. No
checks, no crop, no tensors.

Bare PyAV: open, seek by time, decode up to the last wanted frame, convert and scale the wanted
frames. It trusts all times in the file and does not check for damage. The additional time of
videokd is spent on checks, the crop and Python.
"""

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import SequentialSampler

from benchmarks.data_cases import CLIP, FRAME_SIZE
from benchmarks.data_videos import FPS
from videokd.data.batch import ClipSample
from videokd.data.decode.rgb import RgbConverter
from videokd.utils.errors import RunError


def has_decord() -> bool:
    """Return whether decord is installed; it has no wheels for some platforms."""
    return importlib.util.find_spec("decord") is not None


def make_pytorchvideo_reader(
    path: Path, samples: Sequence[ClipSample]
) -> Callable[[], list[Tensor]]:
    """Return a function that reads the clips of ``samples`` from a file: (3, T, H, W) float32.

    Raises:
        RunError: From the returned function, if clips are missing: pytorchvideo skips unreadable
            videos.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of its imports for its own developers
        from pytorchvideo.data import LabeledVideoDataset
        from pytorchvideo.data.clip_sampling import ClipInfo, ClipSampler
    if has_decord():
        import decord

        # The pytorchvideo import makes decord return torch tensors in the whole process.
        decord.bridge.reset_bridge()

    class SameClips(ClipSampler):
        """Sampler that takes the clip's position from the row instead of drawing it."""

        def __call__(self, last_sec: Any, duration_sec: Any, row: dict[str, Any]) -> ClipInfo:
            start, stop = row["span"]
            return ClipInfo(Fraction(start, FPS), Fraction(stop, FPS), 0, 0, True)

    rows = [(str(path), {"label": s.label, **_row_of(s)}) for s in samples]
    dataset = LabeledVideoDataset(
        rows,
        SameClips(Fraction(1)),
        video_sampler=SequentialSampler,
        transform=_cut,
        decode_audio=False,
        decoder="pyav",
    )

    def read() -> list[Tensor]:
        clips = [row["video"] for row in dataset]
        if len(clips) != len(samples):
            raise RunError(f"pytorchvideo read {len(clips)} of {len(samples)} clips of {path}")
        return clips

    return read


def make_decord_reader(
    path: Path, samples: Sequence[ClipSample], *, resized: bool
) -> Callable[[], None]:
    """Return a function that reads the frames of ``samples`` with decord, scaled if ``resized``."""
    import decord

    size = {"height": FRAME_SIZE[0], "width": FRAME_SIZE[1]} if resized else {}
    wanted = [s.frame_indices.tolist() for s in samples]

    def read() -> None:
        for indices in wanted:
            decord.VideoReader(str(path), num_threads=1, **size).get_batch(indices)

    return read


def make_bare_reader(path: Path, samples: Sequence[ClipSample]) -> Callable[[], int]:
    """Return a function that reads the frames of ``samples`` with PyAV and returns their number."""
    clips = [s.frame_indices.tolist() for s in samples]
    return lambda: sum(_read_barely(path, wanted) for wanted in clips)


def _read_barely(path: Path, wanted: Sequence[int]) -> int:
    num_read = 0
    to_rgb = RgbConverter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        first = (stream.start_time or 0) * stream.time_base
        target = int((first + Fraction(wanted[0], FPS)) / stream.time_base)
        container.seek(target, stream=stream)
        for frame in container.decode(stream):
            number = round((frame.pts * stream.time_base - first) * FPS)
            if number in wanted:
                to_rgb(frame, FRAME_SIZE[0])
                num_read += 1
            if number >= wanted[-1]:
                break
    return num_read


def _row_of(sample: ClipSample) -> dict[str, Any]:
    first, last = sample.frame_indices[[0, -1]].tolist()
    return {"span": (first, last + 1), "crop": sample.augmentation.crop}


def _cut(row: dict[str, Any]) -> dict[str, Any]:
    """Pick every fourth frame, scale the short side to 128 px and crop."""
    top, left, height, width = row["crop"]
    frames = row["video"][:, :: CLIP.sampling_rate].transpose(0, 1)
    frames = F.interpolate(frames, FRAME_SIZE, mode="bilinear", align_corners=False)
    clip = frames[..., top : top + height, left : left + width].transpose(0, 1)
    return {**row, "video": clip.contiguous()}
