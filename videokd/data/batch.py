"""Requests, samples and batches of clips, and records of videos that could not be read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from videokd.data.augment import ViewParams
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
    """One clip.

    Args:
        clip: (3, T, H, W) uint8.
        label: Class id in the label set of its own dataset.
        dataset_id: Position of its index.
        record_id: Position of its record.
        view: Parameters that made the clip from the decoded frames.
        frame_indices: (T,) int64, source frames of the clip.
        view_number: Number of the view among the video's fixed views, 0-based; -1 for a fresh one.
        clip_name: Name of the shape of ``clip``, see ``ClipSpec.name``.
        other_clips: Name of another shape -> (3, T', H', W') uint8, with the same moment and view.
        plain_clips: Name of a shape -> (3, T', H', W') uint8, the same moment without augmentation.
        uncut: Decoded frames to cut the clips from on the training device. ``clip`` is then empty
            and there are no other clips.
    """

    clip: Tensor
    label: int
    dataset_id: int
    record_id: int
    view: ViewParams
    frame_indices: Tensor
    view_number: int = -1
    clip_name: str = ""
    other_clips: Mapping[str, Tensor] = field(default_factory=dict)
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
    """A batch of clips. In an empty batch, B and all sizes of the clips but C are 0.

    Args:
        clips: (B, 3, T, H, W) uint8.
        labels: (B,) int64, each in the label set of its own dataset.
        dataset_ids: (B,) int64.
        record_ids: (B,) int64.
        views: B view parameters.
        frame_indices: (B, T) int64.
        bad: Requested videos that could not be read; they are not counted in B.
        view_keys: B keys, kept on the CPU so that a lookup never waits for the device; () in a
            batch that was not collated from samples.
        clip_name: Name of the shape of ``clips``, see ``ClipSpec.name``.
        other_clips: Name of another shape -> (B, 3, T', H', W') uint8, the same moments and views
            for networks that take that shape; {} when all networks take ``clips``.
        plain_clips: Name of a shape -> (B, 3, T', H', W') uint8, the moments without augmentation;
            {} when not requested, and in an empty batch.
        uncut: Decoded frames that ``to`` cuts all clips from. Until then ``clips`` is empty and
            there are no other clips. None when the workers have cut the clips.
        whole_ids: (N,) int64 in any order, the ``dataset_ids`` of all clips of the step when this
            batch is only a part of it (see ``split``; other parts may be on other processes). None
            when this batch is the whole step.
    """

    clips: Tensor
    labels: Tensor
    dataset_ids: Tensor
    record_ids: Tensor
    views: tuple[ViewParams, ...]
    frame_indices: Tensor
    bad: tuple[BadVideo, ...]
    view_keys: tuple[ViewKey, ...] = ()
    clip_name: str = ""
    other_clips: Mapping[str, Tensor] = field(default_factory=dict)
    plain_clips: Mapping[str, Tensor] = field(default_factory=dict)
    uncut: UncutBatch | None = None
    whole_ids: Tensor | None = None

    def __len__(self) -> int:
        return self.labels.shape[0]

    @property
    def all_clips(self) -> Tensor | Mapping[str, Tensor]:
        """Input of the networks: ``clips``, or name -> clips when there are several shapes."""
        return only_or_all({self.clip_name: self.clips, **self.other_clips})

    @property
    def all_plain_clips(self) -> Tensor | Mapping[str, Tensor]:
        """Clips without augmentation, or name -> clips when there are several shapes."""
        return only_or_all(self.plain_clips)

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
            clips=uncut.clip.apply(uncut.frames),
            other_clips={name: cuts.apply(uncut.frames) for name, cuts in uncut.others.items()},
            plain_clips={name: cuts.apply(uncut.frames) for name, cuts in uncut.plain.items()},
            uncut=None,
        )

    def pin_memory(self) -> "ClipBatch":
        """Return the batch in page-locked memory, for faster copies to a GPU."""
        return self._convert(Tensor.pin_memory)

    def _part(self, rows: slice) -> "ClipBatch":
        return replace(
            self,
            clips=self.clips[rows],
            labels=self.labels[rows],
            dataset_ids=self.dataset_ids[rows],
            record_ids=self.record_ids[rows],
            views=self.views[rows],
            frame_indices=self.frame_indices[rows],
            bad=(),
            view_keys=self.view_keys[rows],
            other_clips={name: clips[rows] for name, clips in self.other_clips.items()},
            plain_clips={name: clips[rows] for name, clips in self.plain_clips.items()},
            whole_ids=self.dataset_ids if self.whole_ids is None else self.whole_ids,
        )

    def _convert(self, convert: Callable[[Tensor], Tensor]) -> "ClipBatch":
        return replace(
            self,
            clips=convert(self.clips),
            labels=convert(self.labels),
            dataset_ids=convert(self.dataset_ids),
            record_ids=convert(self.record_ids),
            frame_indices=convert(self.frame_indices),
            other_clips={name: convert(clips) for name, clips in self.other_clips.items()},
            plain_clips={name: convert(clips) for name, clips in self.plain_clips.items()},
            uncut=None if self.uncut is None else self.uncut.convert(convert),
            whole_ids=None if self.whole_ids is None else convert(self.whole_ids),
        )


def only_or_all(clips: Mapping[str, Tensor]) -> Tensor | Mapping[str, Tensor]:
    """Return the only value if there is one shape, else the whole mapping."""
    return next(iter(clips.values())) if len(clips) == 1 else clips


def collate(samples: Sequence[ClipSample | list[ClipSample] | BadVideo]) -> ClipBatch:
    """Stack samples into a batch; bad videos are listed in ``bad``, never replaced.

    Args:
        samples: Samples with clips of the same shapes, lists of such samples for one video, and bad
            videos.
    """
    bad = tuple(s for s in samples if isinstance(s, BadVideo))
    each = chain.from_iterable(s if isinstance(s, list) else [s] for s in samples)
    good = [s for s in each if isinstance(s, ClipSample)]
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
        tuple(ViewKey(s.dataset_id, s.record_id, s.view_number) for s in good),
        good[0].clip_name if good else "",
        _stack([s.other_clips for s in good]),
        _stack([s.plain_clips for s in good]),
        _join([s.uncut for s in good if s.uncut is not None]),
    )


def _join(samples: Sequence[UncutSample]) -> UncutBatch | None:
    return join_uncut(samples) if samples else None


def _stack(clips: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([one[name] for one in clips]) for name in (clips[0] if clips else ())}
