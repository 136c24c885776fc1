"""What passes from the data path to the rest: requests, samples, batches, failed videos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from videokd.data.augment import ViewParams


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """Which video to cut a clip from, and the place in the run that seeds its augmentation.

    Args:
        dataset_id: Position of the index in the dataset.
        record_id: Position of the record in its index.
        epoch: 0-based.
        position: Place of the clip in its epoch, 0-based.
    """

    dataset_id: int
    record_id: int
    epoch: int
    position: int


class ViewKey(NamedTuple):
    """The name of a view, the same at every epoch: what is kept of a clip is kept under it."""

    dataset_id: int
    record_id: int
    view: int
    """Which of the video's fixed views, 0-based; -1 for a view that will not come again."""


@dataclass(frozen=True, slots=True)
class ClipSample:
    """One clip.

    Args:
        clip: (3, T, H, W) uint8.
        label: Class id in the label set of its own dataset.
        dataset_id: Position of its index.
        record_id: Position of its record.
        view: What made the clip from the decoded frames.
        frame_indices: (T,) int64, source frames of the clip.
        view_number: Which of the video's fixed views this is, 0-based; -1 for a fresh one.
        plain_clip: (3, T, H, W) uint8, the same frames without augmentation; None when not asked
            for.
    """

    clip: Tensor
    label: int
    dataset_id: int
    record_id: int
    view: ViewParams
    frame_indices: Tensor
    view_number: int = -1
    plain_clip: Tensor | None = None


@dataclass(frozen=True, slots=True)
class BadVideo:
    """A video that could not be read; it takes the place of its sample.

    Args:
        dataset_id: Position of its index.
        record_id: Position of its record.
        path: As in its record.
        cause: A few words.
    """

    dataset_id: int
    record_id: int
    path: str
    cause: str


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """A batch of clips. It may be empty: then B and all sizes of the clips but C are 0.

    Args:
        clips: (B, 3, T, H, W) uint8.
        labels: (B,) int64, each in the label set of its own dataset.
        dataset_ids: (B,) int64.
        record_ids: (B,) int64.
        views: B view parameters.
        frame_indices: (B, T) int64.
        bad: Videos that were asked for and could not be read; they are not counted in B.
        view_keys: B keys, host side on every device, so that looking something up waits for
            none; () in a batch that was not collated from samples.
        plain_clips: (B, 3, T, H, W) uint8, the frames of ``clips`` without augmentation; None when
            not asked for, and in an empty batch.
    """

    clips: Tensor
    labels: Tensor
    dataset_ids: Tensor
    record_ids: Tensor
    views: tuple[ViewParams, ...]
    frame_indices: Tensor
    bad: tuple[BadVideo, ...]
    view_keys: tuple[ViewKey, ...] = ()
    plain_clips: Tensor | None = None

    def __len__(self) -> int:
        return self.labels.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "ClipBatch":
        """Return the batch with its tensors on a device."""
        return self._convert(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "ClipBatch":
        """Return the batch in page-locked memory; called by DataLoader(pin_memory=True)."""
        return self._convert(Tensor.pin_memory)

    def _convert(self, convert: Callable[[Tensor], Tensor]) -> "ClipBatch":
        return replace(
            self,
            clips=convert(self.clips),
            labels=convert(self.labels),
            dataset_ids=convert(self.dataset_ids),
            record_ids=convert(self.record_ids),
            frame_indices=convert(self.frame_indices),
            plain_clips=None if self.plain_clips is None else convert(self.plain_clips),
        )


def collate(samples: Sequence[ClipSample | BadVideo]) -> ClipBatch:
    """Stack samples into a batch; bad videos are set aside, never replaced.

    Args:
        samples: Clips of one shape, all with or all without a plain clip, and bad videos.
    """
    good = [s for s in samples if isinstance(s, ClipSample)]
    bad = tuple(s for s in samples if isinstance(s, BadVideo))
    if good:
        clips = torch.stack([s.clip for s in good])
        frame_indices = torch.stack([s.frame_indices for s in good])
    else:
        clips = torch.empty((0, 3, 0, 0, 0), dtype=torch.uint8)
        frame_indices = torch.empty((0, 0), dtype=torch.int64)
    plain_clips = [s.plain_clip for s in good if s.plain_clip is not None]
    return ClipBatch(
        clips,
        torch.tensor([s.label for s in good], dtype=torch.int64),
        torch.tensor([s.dataset_id for s in good], dtype=torch.int64),
        torch.tensor([s.record_id for s in good], dtype=torch.int64),
        tuple(s.view for s in good),
        frame_indices,
        bad,
        tuple(ViewKey(s.dataset_id, s.record_id, s.view_number) for s in good),
        torch.stack(plain_clips) if plain_clips else None,
    )
