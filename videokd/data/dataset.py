"""Training clips: request -> record -> frames -> clip. No file stays open between clips."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset

from videokd.data.augment import AugmentSpec, center_crop
from videokd.data.batch import BadVideo, ClipRequest, ClipSample
from videokd.data.clip_spec import ClipSet, ClipSpec, SharedFrames, find_times
from videokd.data.decode import open_video
from videokd.data.decode.errors import retry_read
from videokd.data.decode.reader import VideoReader
from videokd.data.decode.source import open_video_file
from videokd.data.device_clips import Cut, UncutSample
from videokd.data.frame_cache import FrameCache
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.utils.errors import InputError, VideoError

Result = TypeVar("Result")


class ClipDataset(Dataset[ClipSample | list[ClipSample] | BadVideo]):
    """Random augmented clips of the videos of one or several indexes.

    A clip depends only on the seed and its request, not on the worker or on earlier requests. Its
    start and augmentation are either fresh at each epoch and position, or cycle through a few fixed
    ones per video, so that the outputs of a frozen network can be stored (dataset reinforcement,
    Faghri et al. 2023).

    If mirroring changes a video's class (``VideoIndex.mirror_labels``), a mirrored clip gets the
    label of its mirror image, and the clip without augmentation is mirrored too. Nothing is
    mirrored if mirror images have no class (``mirror_labels`` is None).

    Args:
        indexes: The datasets; their positions are the dataset ids.
        clip: Shape of the clips, or the set of shapes that are cut at each moment.
        augment: Distribution of the augmentations.
        seed: Seed of clip starts and augmentations.
        backend: Decoder, see `decode.open_video`. Not used for cached datasets.
        caches: One frame cache per index, or None to decode the files.
        views_per_video: 0 seeds clips with (seed, epoch, position). V > 0 seeds them with (seed,
            dataset_id, record_id, epoch % V) only, V different ones per video. The clips of one
            request have the views of the epoch and of the epochs after it.
        cuts_on_device: Return decoded frames; ``ClipBatch.to`` crops and augments them on the
            training device. The clips are the same, see ``augment.augmentation``.

    Raises:
        InputError: caches do not match the indexes or the short side of the clips, or
            views_per_video is negative.
    """

    def __init__(
        self,
        indexes: Sequence[VideoIndex],
        *,
        clip: ClipSpec | ClipSet,
        augment: AugmentSpec,
        seed: int,
        backend: str = "auto",
        caches: Sequence[FrameCache] | None = None,
        views_per_video: int = 0,
        cuts_on_device: bool = False,
    ) -> None:
        self._clips = clip if isinstance(clip, ClipSet) else ClipSet(clip)
        check_caches(indexes, caches, self._clips.main.short_side)
        if views_per_video < 0:
            raise InputError(f"views_per_video must be >= 0 (0 = fresh), got {views_per_video}")
        self._indexes = tuple(indexes)
        still = replace(augment, flip=False)
        self._augments = [augment if i.mirror_labels is not None else still for i in indexes]
        self._seed = seed
        self._backend = backend
        self._caches = None if caches is None else tuple(caches)
        self._views_per_video = views_per_video
        self._cuts_on_device = cuts_on_device

    def __getitem__(self, request: ClipRequest) -> ClipSample | list[ClipSample] | BadVideo:
        """Return the clips of a request, or a BadVideo if its video cannot be used.

        A request for several samples returns a list, equal to those of as many single requests.
        """
        index = self._indexes[request.dataset_id]
        record = index.records[request.record_id]
        cache = self._caches[request.dataset_id] if self._caches else None
        try:
            samples = read_record(
                index,
                record,
                lambda reader: self._make_samples(reader, request),
                cache=cache,
                backend=self._backend,
            )
        except VideoError as error:
            return BadVideo(request.dataset_id, request.record_id, record.path, error.cause)
        return samples if request.num_clips > 1 else samples[0]

    def lost(self, request: ClipRequest, cause: str) -> BadVideo:
        """Return the BadVideo for a request whose worker was lost."""
        record = self._indexes[request.dataset_id].records[request.record_id]
        return BadVideo(request.dataset_id, request.record_id, record.path, cause)

    def _make_samples(self, reader: VideoReader, request: ClipRequest) -> list[ClipSample]:
        """Return the samples of a request, all from one decode."""
        main, num_specs = self._clips.main, len(self._clips.specs)
        times = find_times(reader, main)
        numbers = [self._view_number(request, repeat) for repeat in range(request.num_clips)]
        rngs = [self._make_rng(request, repeat, number) for repeat, number in enumerate(numbers)]
        moments = [self._clips.draw_frames(reader.num_frames, rng=rng, times=times) for rng in rngs]
        shared = SharedFrames(
            reader, [clip for moment in moments for clip in moment], short_side=main.short_side
        )
        return [
            self._make_sample(
                request,
                shared,
                moment=slice(repeat * num_specs, (repeat + 1) * num_specs),
                number=number,
                rng=rng,
            )
            for repeat, (number, rng) in enumerate(zip(numbers, rngs, strict=True))
        ]

    def _make_sample(
        self,
        request: ClipRequest,
        shared: SharedFrames,
        *,
        moment: slice,
        number: int,
        rng: np.random.Generator,
    ) -> ClipSample:
        """Return the sample of the moment whose clips are ``moment`` of the shared frames."""
        clips, rows = self._clips, dict(zip(self._clips.specs, shared.rows[moment], strict=True))
        index = self._indexes[request.dataset_id]
        label, mirror = index.records[request.record_id].label, index.mirror_labels
        drawn = self._augments[request.dataset_id].draw(*shared.size, rng=rng)
        # Mirror plain clips too: teacher and student must see the same class.
        whole = center_crop(*shared.size, clips.main.box, clips.main.crop_shape)
        plain = replace(whole, flip=drawn.flip and bool(mirror))
        cuts, plain_cuts = (
            {spec.name: Cut(rows[spec], augmentation, spec.crop_size) for spec in specs}
            for specs, augmentation in (((clips.main, *clips.others), drawn), (clips.plain, plain))
        )
        sample = ClipSample(
            {},
            mirror[label] if mirror and drawn.flip else label,
            request.dataset_id,
            request.record_id,
            drawn,
            torch.from_numpy(shared.indices[moment.start]),
            number,
        )
        if self._cuts_on_device:
            return replace(sample, uncut=UncutSample(shared.tensor, cuts, plain_cuts))
        return replace(
            sample,
            clips={name: cut.apply(shared.frames) for name, cut in cuts.items()},
            plain_clips={name: cut.apply(shared.frames) for name, cut in plain_cuts.items()},
        )

    def _view_number(self, request: ClipRequest, repeat: int) -> int:
        return (request.epoch + repeat) % self._views_per_video if self._views_per_video else -1

    def _make_rng(self, request: ClipRequest, repeat: int, view_number: int) -> np.random.Generator:
        place = (
            (request.epoch, request.position + repeat)
            if view_number < 0
            else (request.dataset_id, request.record_id, view_number)
        )
        return np.random.default_rng([self._seed, *place])


def read_record(
    index: VideoIndex,
    record: VideoRecord,
    read: Callable[[VideoReader], Result],
    *,
    cache: FrameCache | None,
    backend: str,
) -> Result:
    """Return read(reader) for a record's video; retry once if the system cannot read the file.

    Raises:
        VideoError: the video cannot be used.
    """

    def open_and_read() -> Result:
        with open_record(index, record, cache=cache, backend=backend) as reader:
            return read(reader)

    # Cached frames are memory-mapped: no read of them fails and is worth another try.
    return open_and_read() if cache is not None else retry_read(open_and_read)


def open_record(
    index: VideoIndex, record: VideoRecord, *, cache: FrameCache | None, backend: str
) -> VideoReader:
    """Open a record's video: its frames in the cache if there is one, else its file.

    Raises:
        VideoError: the video cannot be used.
    """
    if record.cause:
        # The file may hang or kill this process; the cause was found by a scan in another process.
        raise VideoError(record.path, record.cause)
    if cache is not None:
        return cache.reader(record)
    return open_video(
        open_video_file(record.path, root=index.root),
        backend=backend,
        expected_frames=record.num_frames,
    )


def check_caches(
    indexes: Sequence[VideoIndex], caches: Sequence[FrameCache] | None, short_side: int
) -> None:
    """Check that there is no cache, or one per index with the short side of the clips.

    Raises:
        InputError: the number of caches or their short side differs.
    """
    if caches is None:
        return
    if len(caches) != len(indexes):
        raise InputError(f"{len(indexes)} indexes need as many frame caches, got {len(caches)}")
    for index, cache in zip(indexes, caches, strict=True):
        if cache.short_side != short_side:
            raise InputError(
                f"{index.dataset}: frames are cached with short side {cache.short_side}, "
                f"clips need {short_side}; build the cache with the same"
            )
