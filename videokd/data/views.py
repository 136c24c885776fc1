"""Test views: every clip and crop of a video from one opening and one pass over its frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from videokd.data.augment import ViewParams, apply_view
from videokd.data.batch import BadVideo
from videokd.data.dataset import ClipSpec, check_caches, open_record
from videokd.data.frame_cache import FrameCache
from videokd.data.index import VideoIndex
from videokd.data.reader import VideoReader
from videokd.data.sampling import clip_frame_indices, uniform_clip_starts, uniform_crop_boxes
from videokd.utils.errors import VideoError


@dataclass(frozen=True, slots=True)
class ViewSample:
    """All views of one video.

    Args:
        clips: (V, 3, T, H, W) uint8; the crops of clip 0 come first, then those of clip 1.
        label: Class id.
        record_id: Position of the record in its index.
    """

    clips: Tensor
    label: int
    record_id: int


@dataclass(frozen=True, slots=True)
class ViewBatch:
    """The views of several videos, one after the other.

    Args:
        clips: (sum of counts, 3, T, H, W) uint8; (0, 3, 0, 0, 0) when no video could be read.
        counts: (B,) int64, views of each video.
        labels: (B,) int64.
        record_ids: (B,) int64.
        bad: Videos that could not be read; they are not counted in B.
    """

    clips: Tensor
    counts: Tensor
    labels: Tensor
    record_ids: Tensor
    bad: tuple[BadVideo, ...]

    def __len__(self) -> int:
        return self.labels.shape[0]

    def pin_memory(self) -> "ViewBatch":
        """Return the batch in page-locked memory; called by DataLoader(pin_memory=True)."""
        return ViewBatch(
            self.clips.pin_memory(),
            self.counts.pin_memory(),
            self.labels.pin_memory(),
            self.record_ids.pin_memory(),
            self.bad,
        )


class ViewDataset(Dataset[ViewSample | BadVideo]):
    """The test views of every video of an index, in the order of the index.

    Args:
        index: The videos.
        dataset_id: Written into BadVideo.
        clip: Shape of the clips.
        num_clips: Clips spread evenly over the video.
        num_crops: 1 (centre) or 3 (along the long side) per clip.
        backend: Decoder, see `decode.open_video`.
        cache: Frame cache of the index, or None to decode the files.

    Raises:
        InputError: the cache does not match.
    """

    def __init__(
        self,
        index: VideoIndex,
        *,
        dataset_id: int,
        clip: ClipSpec,
        num_clips: int = 1,
        num_crops: int = 1,
        backend: str = "auto",
        cache: FrameCache | None = None,
    ) -> None:
        check_caches([index], None if cache is None else [cache], clip.short_side)
        self._index = index
        self._dataset_id = dataset_id
        self._clip = clip
        self._num_clips = num_clips
        self._num_crops = num_crops
        self._backend = backend
        self._cache = cache

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, record_id: int) -> ViewSample | BadVideo:
        """Make the views of a record, or say why its video cannot be used."""
        record = self._index.records[record_id]
        try:
            with open_record(
                self._index, record, cache=self._cache, backend=self._backend
            ) as reader:
                return ViewSample(self._make_views(reader), record.label, record_id)
        except VideoError as error:
            return BadVideo(self._dataset_id, record_id, record.path, error.cause)

    def _make_views(self, reader: VideoReader) -> Tensor:
        clip = self._clip
        shape = {"num_frames": clip.num_frames, "sampling_rate": clip.sampling_rate}
        starts = uniform_clip_starts(reader.num_frames, num_clips=self._num_clips, **shape)
        clips = [clip_frame_indices(start, reader.num_frames, **shape) for start in starts]
        wanted, places = np.unique(np.stack(clips), return_inverse=True)
        frames = reader.get_frames(wanted.tolist(), short_side=clip.short_side)
        boxes = uniform_crop_boxes(
            frames.shape[1], frames.shape[2], size=clip.crop_size, num_crops=self._num_crops
        )
        views = [
            apply_view(frames[rows], ViewParams(box), size=clip.crop_size)
            for rows in places.reshape(len(starts), -1)
            for box in boxes
        ]
        return torch.stack(views)


def collate_views(samples: Sequence[ViewSample | BadVideo]) -> ViewBatch:
    """Put the views of several videos one after the other; bad videos are set aside."""
    good = [s for s in samples if isinstance(s, ViewSample)]
    bad = tuple(s for s in samples if isinstance(s, BadVideo))
    clips = (
        torch.cat([s.clips for s in good])
        if good
        else torch.empty((0, 3, 0, 0, 0), dtype=torch.uint8)
    )
    return ViewBatch(
        clips,
        torch.tensor([len(s.clips) for s in good], dtype=torch.int64),
        torch.tensor([s.label for s in good], dtype=torch.int64),
        torch.tensor([s.record_id for s in good], dtype=torch.int64),
        bad,
    )
