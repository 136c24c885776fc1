"""What passes from the data path to the rest: requests, samples, batches, failed videos."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    """

    clip: Tensor
    label: int
    dataset_id: int
    record_id: int
    view: ViewParams
    frame_indices: Tensor


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
    """

    clips: Tensor
    labels: Tensor
    dataset_ids: Tensor
    record_ids: Tensor
    views: tuple[ViewParams, ...]
    frame_indices: Tensor
    bad: tuple[BadVideo, ...]

    def __len__(self) -> int:
        return self.labels.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "ClipBatch":
        """Return the batch with its tensors on a device."""
        return ClipBatch(
            self.clips.to(device, non_blocking=non_blocking),
            self.labels.to(device, non_blocking=non_blocking),
            self.dataset_ids.to(device, non_blocking=non_blocking),
            self.record_ids.to(device, non_blocking=non_blocking),
            self.views,
            self.frame_indices.to(device, non_blocking=non_blocking),
            self.bad,
        )

    def pin_memory(self) -> "ClipBatch":
        """Return the batch in page-locked memory; called by DataLoader(pin_memory=True)."""
        return ClipBatch(
            self.clips.pin_memory(),
            self.labels.pin_memory(),
            self.dataset_ids.pin_memory(),
            self.record_ids.pin_memory(),
            self.views,
            self.frame_indices.pin_memory(),
            self.bad,
        )


def collate(samples: Sequence[ClipSample | BadVideo]) -> ClipBatch:
    """Stack samples into a batch; bad videos are set aside, never replaced.

    Args:
        samples: Clips of one shape, and bad videos.
    """
    good = [s for s in samples if isinstance(s, ClipSample)]
    bad = tuple(s for s in samples if isinstance(s, BadVideo))
    if good:
        clips = torch.stack([s.clip for s in good])
        frame_indices = torch.stack([s.frame_indices for s in good])
    else:
        clips = torch.empty((0, 3, 0, 0, 0), dtype=torch.uint8)
        frame_indices = torch.empty((0, 0), dtype=torch.int64)
    return ClipBatch(
        clips,
        torch.tensor([s.label for s in good], dtype=torch.int64),
        torch.tensor([s.dataset_id for s in good], dtype=torch.int64),
        torch.tensor([s.record_id for s in good], dtype=torch.int64),
        tuple(s.view for s in good),
        frame_indices,
        bad,
    )
