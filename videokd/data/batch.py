"""Requests, samples and batches of clips, and records of videos that could not be read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from videokd.data.augment import Augmentation
from videokd.data.device_clips import UncutBatch, UncutSample, join_uncut


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """Request for the clips of one video; its place in the run seeds the augmentation.

    Args:
        dataset_id: Position of the index in the dataset.
        record_id: Position of the record in its index.
        epoch: 0-based.
        position: Position of the clip in its epoch, 0-based.
        num_clips: Clips to cut from one decode of the video, at ``position`` and the positions
            after it.
    """

    dataset_id: int
    record_id: int
    epoch: int
    position: int
    num_clips: int = 1


class ViewKey(NamedTuple):
    """Identity of a view, the same in every epoch; used as a key to store network outputs."""

    dataset_id: int
    record_id: int
    view: int
    """Number among the video's fixed views, 0-based; -1 for a view that never repeats."""


@dataclass(frozen=True, slots=True)
class ClipSample:
    """The clips of one moment of a video, one for each shape that networks take.

    Args:
        clips: Name of a shape (``ClipSpec.name``) -> (3, T, H, W) uint8; the main clip first, then
            the same moment and augmentation in the shapes that other networks take.
        label: Class id in the label set of its own dataset.
        dataset_id: Position of its index.
        record_id: Position of its record.
        augmentation: Parameters that made the clips from the decoded frames.
        frame_indices: (T,) int64, source frames of the main clip.
        view_number: Number of the view among the video's fixed views, 0-based; -1 for a fresh one.
        plain_clips: Name of a shape -> (3, T, H, W) uint8, the same moment without augmentation.
        uncut: Decoded frames to cut the clips from on the training device. ``clips`` and
            ``plain_clips`` are then empty.
    """

    clips: Mapping[str, Tensor]
    label: int
    dataset_id: int
    record_id: int
    augmentation: Augmentation
    frame_indices: Tensor
    view_number: int = -1
    plain_clips: Mapping[str, Tensor] = field(default_factory=dict)
    uncut: UncutSample | None = None


@dataclass(frozen=True, slots=True)
class BadVideo:
    """A video that could not be read; it replaces the video's sample.

    Args:
        dataset_id: Position of its index.
        record_id: Position of its record.
        path: Path of the record.
        cause: Short description of the failure.
    """

    dataset_id: int
    record_id: int
    path: str
    cause: str


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """A batch of B samples. An empty batch has no clips.

    Args:
        clips: Name of a shape (``ClipSpec.name``) -> (B, 3, T, H, W) uint8; the main clips first,
            then the same moments and augmentations in the shapes that other networks take.
        labels: (B,) int64, each in the label set of its own dataset.
        dataset_ids: (B,) int64.
        record_ids: (B,) int64.
        augmentations: B augmentations, which made the clips from the decoded frames.
        frame_indices: (B, T) int64, source frames of the main clips.
        bad: Requested videos that could not be read; they are not counted in B.
        view_keys: B keys, kept on the CPU so that a lookup never waits for the device; () in a
            batch that was not collated from samples.
        plain_clips: Name of a shape -> (B, 3, T, H, W) uint8, the moments without augmentation, for
            a teacher that is shown them; {} when not requested.
        uncut: Decoded frames that ``to`` cuts all clips from; there are no clips until then. None
            when the workers have cut the clips.
        whole_ids: (N,) int64 in any order, the ``dataset_ids`` of all clips of the step when this
            batch is only a part of it (see ``split``; other parts may be on other processes). None
            when this batch is the whole step.
    """

    clips: Mapping[str, Tensor]
    labels: Tensor
    dataset_ids: Tensor
    record_ids: Tensor
    augmentations: tuple[Augmentation, ...]
    frame_indices: Tensor
    bad: tuple[BadVideo, ...]
    view_keys: tuple[ViewKey, ...] = ()
    plain_clips: Mapping[str, Tensor] = field(default_factory=dict)
    uncut: UncutBatch | None = None
    whole_ids: Tensor | None = None

    def __len__(self) -> int:
        return self.labels.shape[0]

    @property
    def main(self) -> Tensor:
        """The main clips (B, 3, T, H, W), the first of ``clips``; not of an empty batch."""
        return next(iter(self.clips.values()))

    @property
    def share(self) -> float:
        """Fraction of the step's clips that this part holds; 1 for a whole step."""
        return 1.0 if self.whole_ids is None else len(self) / len(self.whole_ids)

    def split(self, num_parts: int) -> list["ClipBatch"]:
        """Split the batch into consecutive parts of (nearly) equal size.

        Args:
            num_parts: Number of parts. Fewer are made if a part would have less than the two clips
                that batch norm needs.

        Returns:
            The parts, or [self] for a single part. With several parts, the clips must be cut
            already (see ``to``), and no part lists bad videos.
        """
        num_parts = max(1, min(num_parts, len(self) // 2))
        if num_parts == 1:
            return [self]
        bounds = [len(self) * i // num_parts for i in range(num_parts + 1)]
        return [self._part(slice(*pair)) for pair in zip(bounds, bounds[1:], strict=False)]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "ClipBatch":
        """Return the batch with its tensors on a device and its clips cut."""
        moved = self._convert(lambda tensor: tensor.to(device, non_blocking=non_blocking))
        uncut = moved.uncut
        if uncut is None:
            return moved
        return replace(
            moved,
            clips=uncut.cut(uncut.clips),
            plain_clips=uncut.cut(uncut.plain_clips),
            uncut=None,
        )

    def pin_memory(self) -> "ClipBatch":
        """Return the batch in page-locked memory, for faster copies to a GPU."""
        return self._convert(Tensor.pin_memory)

    def _part(self, rows: slice) -> "ClipBatch":
        return replace(
            self,
            clips={name: clips[rows] for name, clips in self.clips.items()},
            labels=self.labels[rows],
            dataset_ids=self.dataset_ids[rows],
            record_ids=self.record_ids[rows],
            augmentations=self.augmentations[rows],
            frame_indices=self.frame_indices[rows],
            bad=(),
            view_keys=self.view_keys[rows],
            plain_clips={name: clips[rows] for name, clips in self.plain_clips.items()},
            whole_ids=self.dataset_ids if self.whole_ids is None else self.whole_ids,
        )

    def _convert(self, convert: Callable[[Tensor], Tensor]) -> "ClipBatch":
        return replace(
            self,
            clips={name: convert(clips) for name, clips in self.clips.items()},
            labels=convert(self.labels),
            dataset_ids=convert(self.dataset_ids),
            record_ids=convert(self.record_ids),
            frame_indices=convert(self.frame_indices),
            plain_clips={name: convert(clips) for name, clips in self.plain_clips.items()},
            uncut=None if self.uncut is None else self.uncut.convert(convert),
            whole_ids=None if self.whole_ids is None else convert(self.whole_ids),
        )


def collate(samples: Sequence[ClipSample | list[ClipSample] | BadVideo]) -> ClipBatch:
    """Stack samples into a batch; bad videos are listed in ``bad``, never replaced.

    Args:
        samples: Samples with clips of the same shapes, lists of such samples for one video, and bad
            videos.
    """
    bad = tuple(s for s in samples if isinstance(s, BadVideo))
    each = chain.from_iterable(s if isinstance(s, list) else [s] for s in samples)
    good = [s for s in each if isinstance(s, ClipSample)]
    uncut = [s.uncut for s in good if s.uncut is not None]
    empty = torch.empty((0, 0), dtype=torch.int64)
    return ClipBatch(
        _stack([s.clips for s in good]),
        torch.tensor([s.label for s in good], dtype=torch.int64),
        torch.tensor([s.dataset_id for s in good], dtype=torch.int64),
        torch.tensor([s.record_id for s in good], dtype=torch.int64),
        tuple(s.augmentation for s in good),
        torch.stack([s.frame_indices for s in good]) if good else empty,
        bad,
        tuple(ViewKey(s.dataset_id, s.record_id, s.view_number) for s in good),
        _stack([s.plain_clips for s in good]),
        join_uncut(uncut) if uncut else None,
    )


def _stack(clips: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([one[name] for one in clips]) for name in (clips[0] if clips else ())}
