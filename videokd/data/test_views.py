"""Test views: all clips and crops of a video, from one decode."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import torch
from torch import Tensor
from torch.utils.data import Dataset

from videokd.data.augment import Augmentation, uniform_crop_boxes
from videokd.data.batch import BadVideo
from videokd.data.clip_spec import ClipSet, ClipSpec, SharedFrames, find_times
from videokd.data.dataset import check_caches, read_record
from videokd.data.decode.reader import VideoReader
from videokd.data.device_clips import Cut
from videokd.data.frame_cache import FrameCache
from videokd.data.lists.index import VideoIndex
from videokd.data.sampling import SEGMENT_CENTRES
from videokd.utils.errors import VideoError

# Limit on the uint8 clips of a batch, since each worker holds two batches.
_MAX_BATCH_BYTES = 128 * 2**20


@dataclass(frozen=True)
class ViewPlan:
    """Number and placement of the test views of each video."""

    num_clips: int
    num_crops: int
    clip_rule: str

    def count_videos(self, clips: ClipSet, *, most: int) -> int:
        """Return the number of videos per batch of at most 128 MiB, 1 .. ``most``."""
        num_bytes = sum(3 * spec.num_frames * spec.crop_size**2 for spec in clips.specs)
        num_views = self.num_clips * self.num_crops
        return max(1, min(most, _MAX_BATCH_BYTES // (num_views * num_bytes)))


@dataclass(frozen=True, slots=True)
class ViewSample:
    """All views of one video.

    Args:
        clips: Name of a shape (``ClipSpec.name``) -> (V, 3, T, H, W) uint8, the main clips first;
            the crops of clip 0, then the crops of clip 1, and so on.
        label: Class id.
        record_id: Position of the record in its index.
    """

    clips: Mapping[str, Tensor]
    label: int
    record_id: int

    @property
    def num_views(self) -> int:
        """V."""
        return len(next(iter(self.clips.values())))


@dataclass(frozen=True, slots=True)
class ViewBatch:
    """Views of several videos, concatenated.

    Args:
        clips: Name of a shape (``ClipSpec.name``) -> (sum of counts, 3, T, H, W) uint8, the main
            clips first; {} if no video could be read.
        counts: (B,) int64, views of each video.
        labels: (B,) int64.
        record_ids: (B,) int64.
        bad: Videos that could not be read; they are not counted in B.
    """

    clips: Mapping[str, Tensor]
    counts: Tensor
    labels: Tensor
    record_ids: Tensor
    bad: tuple[BadVideo, ...]

    def __len__(self) -> int:
        return self.labels.shape[0]

    def pin_memory(self) -> "ViewBatch":
        """Return the batch in page-locked memory, for faster copies to a GPU."""
        return replace(
            self,
            clips={name: clips.pin_memory() for name, clips in self.clips.items()},
            counts=self.counts.pin_memory(),
            labels=self.labels.pin_memory(),
            record_ids=self.record_ids.pin_memory(),
        )


class ViewDataset(Dataset[ViewSample | BadVideo]):
    """Test views of every video of an index, in the order of the index.

    Args:
        index: The videos.
        dataset_id: Dataset id given to BadVideo.
        clip: Shape of the clips, or the set of shapes that are cut at each moment.
        num_clips: Clips spread evenly over the video.
        num_crops: 1, 3 or 5 per clip, see ``uniform_crop_boxes``.
        clip_rule: Rule that spreads the clips, see ``TemporalSampling.test_starts``.
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
        clip: ClipSpec | ClipSet,
        num_clips: int = 1,
        num_crops: int = 1,
        clip_rule: str = SEGMENT_CENTRES,
        backend: str = "auto",
        cache: FrameCache | None = None,
    ) -> None:
        self._clips = clip if isinstance(clip, ClipSet) else ClipSet(clip)
        short_side = self._clips.main.short_side
        check_caches([index], None if cache is None else [cache], short_side)
        self._index = index
        self._dataset_id = dataset_id
        self._num_clips = num_clips
        self._num_crops = num_crops
        self._clip_rule = clip_rule
        self._backend = backend
        self._cache = cache

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, record_id: int) -> ViewSample | BadVideo:
        """Return the views of a record, or a BadVideo if its video cannot be used."""
        record = self._index.records[record_id]
        try:
            views = read_record(
                self._index, record, self._make_views, cache=self._cache, backend=self._backend
            )
        except VideoError as error:
            return BadVideo(self._dataset_id, record_id, record.path, error.cause)
        return ViewSample(views, record.label, record_id)

    def lost(self, record_id: int, cause: str) -> BadVideo:
        """Return the BadVideo for a record whose worker was lost."""
        path = self._index.records[record_id].path
        return BadVideo(self._dataset_id, record_id, path, cause)

    def _make_views(self, reader: VideoReader) -> dict[str, Tensor]:
        """Return the views of each shape, by the name of the shape."""
        main, specs = self._clips.main, self._clips.specs
        moments = self._clips.test_frames(
            reader.num_frames,
            num_clips=self._num_clips,
            rule=self._clip_rule,
            times=find_times(reader, main),
        )
        clips = [clip for moment in moments for clip in moment]
        shared = SharedFrames(reader, clips, short_side=main.short_side)
        boxes = uniform_crop_boxes(
            *shared.size, size=main.box, num_crops=self._num_crops, shape=main.crop_shape
        )
        views: dict[str, list[Tensor]] = {spec.name: [] for spec in specs}
        for spec, rows in zip(cycle(specs), shared.rows, strict=False):
            cuts = [Cut(rows, Augmentation(box), spec.crop_size) for box in boxes]
            views[spec.name] += [cut.apply(shared.frames) for cut in cuts]
        return {name: torch.stack(each) for name, each in views.items()}


def collate_views(samples: Sequence[ViewSample | BadVideo]) -> ViewBatch:
    """Concatenate the views of several videos; bad videos are listed separately."""
    good = [s for s in samples if isinstance(s, ViewSample)]
    bad = tuple(s for s in samples if isinstance(s, BadVideo))
    names = good[0].clips if good else ()
    return ViewBatch(
        {name: torch.cat([s.clips[name] for s in good]) for name in names},
        torch.tensor([s.num_views for s in good], dtype=torch.int64),
        torch.tensor([s.label for s in good], dtype=torch.int64),
        torch.tensor([s.record_id for s in good], dtype=torch.int64),
        bad,
    )
