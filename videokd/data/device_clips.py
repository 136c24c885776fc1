"""Decoded frames, and the parameters to cut clips from them on the training device.

Workers then only decode. Each frame is transferred whole and once, however many clips use it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from videokd.data.augment import ViewParams, apply_views_on_device


@dataclass(frozen=True, slots=True)
class Cut:
    """Parameters to cut one clip.

    Args:
        rows: (T,) int64, positions of its frames among the frames of its sample.
        view: Augmentation of the clip.
        size: Side of the clip, pixels.
    """

    rows: Tensor
    view: ViewParams
    size: int


@dataclass(frozen=True, slots=True)
class UncutSample:
    """Clips of a moment before cutting.

    Args:
        frames: (N, H, W, 3) uint8. Samples of one decode share this tensor object.
        clip: Main clip.
        others: Name of another shape -> its clip.
        plain: Name of a shape -> its clip without augmentation.
    """

    frames: Tensor
    clip: Cut
    others: Mapping[str, Cut]
    plain: Mapping[str, Cut]


@dataclass(frozen=True, slots=True)
class Cuts:
    """Parameters to cut the clips of one shape of a batch.

    Args:
        rows: (B, T) int64, positions of their frames among the frames of the batch.
        views: B augmentations.
        size: Side of the clips, pixels.
    """

    rows: Tensor
    views: tuple[ViewParams, ...]
    size: int

    def apply(self, frames: Tensor) -> Tensor:
        """Cut clips (B, 3, T, size, size) uint8 out of frames (N, H, W, 3) on their device."""
        clips = frames[self.rows].permute(0, 4, 1, 2, 3)
        return apply_views_on_device(clips, self.views, size=self.size)


@dataclass(frozen=True, slots=True)
class UncutBatch:
    """Clips of a batch before cutting.

    Args:
        frames: (N, H, W, 3) uint8, frames of all decodes in sequence. Smaller frames are padded at
            the bottom and on the right, outside every view.
        clip: Main clips.
        others: Name of another shape -> its clips.
        plain: Name of a shape -> its clips without augmentation.
    """

    frames: Tensor
    clip: Cuts
    others: Mapping[str, Cuts]
    plain: Mapping[str, Cuts]

    def convert(self, convert: Callable[[Tensor], Tensor]) -> "UncutBatch":
        """Return the batch with every tensor converted."""

        def convert_rows(cuts: Cuts) -> Cuts:
            return replace(cuts, rows=convert(cuts.rows))

        return UncutBatch(
            convert(self.frames),
            convert_rows(self.clip),
            {name: convert_rows(cuts) for name, cuts in self.others.items()},
            {name: convert_rows(cuts) for name, cuts in self.plain.items()},
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

    def join(cuts: Sequence[Cut]) -> Cuts:
        rows = [
            cut.rows + firsts[id(sample.frames)] for cut, sample in zip(cuts, samples, strict=True)
        ]
        return Cuts(torch.stack(rows), tuple(cut.view for cut in cuts), cuts[0].size)

    first = samples[0]
    return UncutBatch(
        torch.cat(padded),
        join([sample.clip for sample in samples]),
        {name: join([sample.others[name] for sample in samples]) for name in first.others},
        {name: join([sample.plain[name] for sample in samples]) for name in first.plain},
    )
