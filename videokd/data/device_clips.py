"""Decoded frames, and the parameters to cut clips from them in a worker or on the training device.

If the device cuts the clips, workers only decode. Each frame is then transferred whole and once,
however many clips use it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from videokd.data.augment import Augmentation, apply_augmentation, apply_augmentations_on_device


@dataclass(frozen=True, slots=True)
class Cut:
    """Parameters to cut one clip.

    Args:
        rows: (T,) int64, positions of its frames among the frames of its sample.
        augmentation: Augmentation of the clip.
        size: Side of the clip, pixels.
    """

    rows: NDArray[np.int64]
    augmentation: Augmentation
    size: int

    def apply(self, frames: NDArray[np.uint8]) -> Tensor:
        """Cut the clip (3, T, size, size) uint8 out of frames (N, H, W, 3), in a worker."""
        first, last = int(self.rows[0]), int(self.rows[-1])
        is_run = np.array_equal(self.rows, np.arange(first, last + 1))
        own = frames[first : last + 1] if is_run else frames[self.rows]  # a run needs no copy
        return apply_augmentation(own, self.augmentation, size=self.size)


@dataclass(frozen=True, slots=True)
class UncutSample:
    """Clips of a moment before cutting.

    Args:
        frames: (N, H, W, 3) uint8. Samples of one decode share this tensor object.
        clips: Name of a shape -> its clip, the main clip first.
        plain_clips: Name of a shape -> its clip without augmentation.
    """

    frames: Tensor
    clips: Mapping[str, Cut]
    plain_clips: Mapping[str, Cut]


@dataclass(frozen=True, slots=True)
class Cuts:
    """Parameters to cut the clips of one shape of a batch.

    Args:
        rows: (B, T) int64, positions of their frames among the frames of the batch.
        augmentations: B augmentations.
        size: Side of the clips, pixels.
    """

    rows: Tensor
    augmentations: tuple[Augmentation, ...]
    size: int

    def apply(self, frames: Tensor) -> Tensor:
        """Cut clips (B, 3, T, size, size) uint8 out of frames (N, H, W, 3) on their device."""
        clips = frames[self.rows].permute(0, 4, 1, 2, 3)
        return apply_augmentations_on_device(clips, self.augmentations, size=self.size)


@dataclass(frozen=True, slots=True)
class UncutBatch:
    """Clips of a batch before cutting.

    Args:
        frames: (N, H, W, 3) uint8, frames of all decodes in sequence. Smaller frames are padded at
            the bottom and on the right, outside every crop.
        clips: Name of a shape -> its clips, the main clips first.
        plain_clips: Name of a shape -> its clips without augmentation.
    """

    frames: Tensor
    clips: Mapping[str, Cuts]
    plain_clips: Mapping[str, Cuts]

    def cut(self, cuts: Mapping[str, Cuts]) -> dict[str, Tensor]:
        """Cut ``clips`` or ``plain_clips`` on the device of the frames."""
        return {name: each.apply(self.frames) for name, each in cuts.items()}

    def convert(self, convert: Callable[[Tensor], Tensor]) -> "UncutBatch":
        """Return the batch with every tensor converted."""

        def convert_rows(named: Mapping[str, Cuts]) -> dict[str, Cuts]:
            return {
                name: Cuts(convert(cuts.rows), cuts.augmentations, cuts.size)
                for name, cuts in named.items()
            }

        return UncutBatch(
            convert(self.frames), convert_rows(self.clips), convert_rows(self.plain_clips)
        )


def join_uncut(samples: Sequence[UncutSample]) -> UncutBatch:
    """Join samples of the same shapes into a batch."""
    decodes = {id(sample.frames): sample.frames for sample in samples}
    height = max(frames.shape[1] for frames in decodes.values())
    width = max(frames.shape[2] for frames in decodes.values())
    firsts, padded, num_frames = {}, [], 0
    for key, frames in decodes.items():
        firsts[key] = num_frames
        num_frames += len(frames)
        missing = (height - frames.shape[1], width - frames.shape[2])
        padded.append(F.pad(frames, (0, 0, 0, missing[1], 0, missing[0])))

    def join(named: Sequence[Mapping[str, Cut]]) -> dict[str, Cuts]:
        joined = {}
        for name, first in named[0].items():
            cuts = [each[name] for each in named]
            rows = [
                cut.rows + firsts[id(sample.frames)]
                for cut, sample in zip(cuts, samples, strict=True)
            ]
            augmentations = tuple(cut.augmentation for cut in cuts)
            joined[name] = Cuts(torch.from_numpy(np.stack(rows)), augmentations, first.size)
        return joined

    return UncutBatch(
        torch.cat(padded),
        join([sample.clips for sample in samples]),
        join([sample.plain_clips for sample in samples]),
    )
