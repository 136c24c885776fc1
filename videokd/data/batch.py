"""What passes from the data path to the rest: requests, samples, batches, failed videos."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from videokd.data.augment import ViewParams
from videokd.data.uncut import UncutBatch, UncutSample, join_uncut


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """Which video to cut a clip from, and the place in the run that seeds its augmentation.

    Args:
        dataset_id: Position of the index in the dataset.
        record_id: Position of the record in its index.
        epoch: 0-based.
        position: Place of the clip in its epoch, 0-based.
        num_clips: Clips to cut from one decode of the video, at the places ``position`` and after.
    """

    dataset_id: int
    record_id: int
    epoch: int
    position: int
    num_clips: int = 1


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
        clip_name: Of the shape of ``clip``, see ``ClipSpec.name``.
        other_clips: Name of another shape -> (3, T', H', W') uint8, the same moment and view.
        plain_clips: Name of a shape -> (3, T', H', W') uint8, the moment without augmentation.
        uncut: What all clips are cut from on the training device; ``clip`` is empty then, and
            there are no other ones.
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
        clip_name: Of the shape of ``clips``, see ``ClipSpec.name``.
        other_clips: Name of another shape -> (B, 3, T', H', W') uint8, the same moments and views
            for networks that take that shape; {} where all take ``clips``.
        plain_clips: Name of a shape -> (B, 3, T', H', W') uint8, the moments without augmentation;
            {} when not asked for, and in an empty batch.
        uncut: What all clips are cut from by ``to``; until then ``clips`` is empty, and there are
            no other ones. None where they were cut in the workers.
        whole_ids: (N,) int64 in any order, the ``dataset_ids`` of all clips of the step that this
            is a part of (see ``split``; another part may be another process's); None where it is
            all there is.
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
        """What networks take: ``clips``, or name -> clips where there are several shapes."""
        return only_or_all({self.clip_name: self.clips, **self.other_clips})

    @property
    def all_plain_clips(self) -> Tensor | Mapping[str, Tensor]:
        """The clips without augmentation, or name -> clips where there are several shapes."""
        return only_or_all(self.plain_clips)

    @property
    def share(self) -> float:
        """Share of the step's clips that are in this part of it; 1 if it is all."""
        return 1.0 if self.whole_ids is None else len(self) / len(self.whole_ids)

    def split(self, num_parts: int) -> list["ClipBatch"]:
        """Cut the batch into parts of equal size, or nearly so, in their order.

        Args:
            num_parts: How many; fewer where a part would have less than two clips, which is what
                batch norm needs.

        Returns:
            The parts; the batch itself where there is one. The clips must be cut (see ``to``), and
            bad videos are in none of them.
        """
        num_parts = max(1, min(num_parts, len(self) // 2))
        if num_parts == 1:
            return [self]
        bounds = [len(self) * i // num_parts for i in range(num_parts + 1)]
        return [self._part(slice(*pair)) for pair in zip(bounds, bounds[1:], strict=False)]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "ClipBatch":
        """Return the batch with its tensors on a device, and its clips cut."""
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
        """Return the batch in page-locked memory, from which it reaches a GPU sooner."""
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
    """Return the only value where there is one: then it is what every network takes."""
    return next(iter(clips.values())) if len(clips) == 1 else clips


def collate(samples: Sequence[ClipSample | list[ClipSample] | BadVideo]) -> ClipBatch:
    """Stack samples into a batch; bad videos are set aside, never replaced.

    Args:
        samples: Clips of the same shapes, alone or several of one video, and bad videos.
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
