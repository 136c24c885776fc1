"""Training clips: request -> record -> frames -> clip. No container stays open between clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from videokd.data.augment import ViewParams, apply_view, center_view, draw_view
from videokd.data.batch import BadVideo, ClipRequest, ClipSample
from videokd.data.cutting import ClipSet, ClipSpec, SharedFrames
from videokd.data.decode import open_video
from videokd.data.frame_cache import FrameCache
from videokd.data.index import VideoIndex, VideoRecord
from videokd.data.reader import VideoReader
from videokd.data.sampling import random_clip_start
from videokd.data.source import check_video_file
from videokd.utils.errors import InputError, VideoError


@dataclass(frozen=True, slots=True)
class AugmentSpec:
    """The ranges that training views are drawn from; see `augment.draw_view`.

    Args:
        scale_range: Area of the crop as a share of the frame.
        ratio_range: Width / height of the crop.
        flip: Mirror half of the clips, of datasets whose videos may be mirrored.
        color_jitter: Strength of brightness and contrast changes, 0.0 is off.
    """

    scale_range: tuple[float, float] = (0.5, 1.0)
    ratio_range: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    color_jitter: float = 0.0


class ClipDataset(Dataset[ClipSample | list[ClipSample] | BadVideo]):
    """Random augmented clips of the videos of one or several indexes.

    A clip depends on the seed and on its request alone, not on the worker that makes it or on what
    was asked before. Its start and view are either fresh at each epoch and position, or one of a
    few that each video has and that come in turn, so that what a frozen network says about them
    can be kept (dataset reinforcement, Faghri et al. 2023).

    Where mirroring changes the class of a video (``VideoIndex.mirror_labels``), a mirrored clip has
    the label of the mirror image, and a clip without augmentation is mirrored with it; where the
    mirror image has no class, nothing is mirrored.

    Args:
        indexes: The datasets; their positions are the dataset ids.
        clip: Shape of the clips, or the shapes that are cut of each moment.
        augment: How views are drawn.
        seed: Seed of clip starts and views.
        backend: Decoder, see `decode.open_video`. Not used for datasets that are cached.
        caches: One frame cache per index, or None to decode the files.
        views_per_video: 0: clips are drawn from (seed, epoch, position). V > 0: from (seed,
            dataset_id, record_id, epoch % V) and nothing else, V different ones per video. Several
            clips of one request have the views of the epoch and of those after it.

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
    ) -> None:
        self._clips = clip if isinstance(clip, ClipSet) else ClipSet(clip)
        check_caches(indexes, caches, self._clips.main.short_side)
        if views_per_video < 0:
            raise InputError(f"views_per_video must be >= 0 (0 = fresh), got {views_per_video}")
        self._indexes = tuple(indexes)
        self._augment = augment
        self._seed = seed
        self._backend = backend
        self._caches = None if caches is None else tuple(caches)
        self._views_per_video = views_per_video

    def __getitem__(self, request: ClipRequest) -> ClipSample | list[ClipSample] | BadVideo:
        """Make the clip of a request, or say why its video cannot be used.

        Of a request for several clips a list is made, the same as of as many requests for one.
        """
        index = self._indexes[request.dataset_id]
        record = index.records[request.record_id]
        cache = self._caches[request.dataset_id] if self._caches else None
        try:
            with open_record(index, record, cache=cache, backend=self._backend) as reader:
                samples = self._make_samples(reader, request)
        except VideoError as error:
            return BadVideo(request.dataset_id, request.record_id, record.path, error.cause)
        return samples if request.num_clips > 1 else samples[0]

    def lost(self, request: ClipRequest, cause: str) -> BadVideo:
        """Say that the video of a request cannot be used, for a cause found elsewhere."""
        record = self._indexes[request.dataset_id].records[request.record_id]
        return BadVideo(request.dataset_id, request.record_id, record.path, cause)

    def _make_samples(self, reader: VideoReader, request: ClipRequest) -> list[ClipSample]:
        main = self._clips.main
        numbers = [self._view_number(request, repeat) for repeat in range(request.num_clips)]
        rngs = [self._make_rng(request, repeat, number) for repeat, number in enumerate(numbers)]
        shape = {"num_frames": main.num_frames, "sampling_rate": main.sampling_rate}
        starts = [random_clip_start(reader.num_frames, **shape, rng=rng) for rng in rngs]
        moments = [self._clips.list_frames(start, reader.num_frames) for start in starts]
        shared = SharedFrames(
            reader, [clip for moment in moments for clip in moment], short_side=main.short_side
        )
        return [
            self._cut(request, shared, moment=repeat, number=number, rng=rng)
            for repeat, (number, rng) in enumerate(zip(numbers, rngs, strict=True))
        ]

    def _cut(
        self,
        request: ClipRequest,
        shared: SharedFrames,
        *,
        moment: int,
        number: int,
        rng: np.random.Generator,
    ) -> ClipSample:
        """Cut the clips of a moment, the ``moment``-th of the shared frames."""
        index, main = self._indexes[request.dataset_id], self._clips.main
        label, mirror = index.records[request.record_id].label, index.mirror_labels
        view = self._draw_view(*shared.size, rng, can_flip=mirror is not None)
        # A teacher must not be shown one class and the student another.
        plain = replace(center_view(*shared.size, main.box), flip=view.flip and bool(mirror))
        specs = self._clips.specs
        places = {spec: moment * len(specs) + place for place, spec in enumerate(specs)}

        def cut(specs: Sequence[ClipSpec], view: ViewParams) -> dict[str, Tensor]:
            return {
                spec.name: apply_view(shared.clip(places[spec]), view, size=spec.crop_size)
                for spec in specs
            }

        return ClipSample(
            cut([main], view)[main.name],
            mirror[label] if mirror and view.flip else label,
            request.dataset_id,
            request.record_id,
            view,
            torch.from_numpy(shared.indices[places[main]]),
            number,
            main.name,
            cut(self._clips.others, view),
            cut(self._clips.plain, plain),
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

    def _draw_view(
        self, height: int, width: int, rng: np.random.Generator, *, can_flip: bool
    ) -> ViewParams:
        augment = self._augment
        return draw_view(
            height,
            width,
            rng=rng,
            scale_range=augment.scale_range,
            ratio_range=augment.ratio_range,
            flip=augment.flip and can_flip,
            color_jitter=augment.color_jitter,
        )


def open_record(
    index: VideoIndex, record: VideoRecord, *, cache: FrameCache | None, backend: str
) -> VideoReader:
    """Open a record's video, from the cache when there is one, else from its checked file.

    Raises:
        VideoError: the video cannot be used.
    """
    if record.cause:
        # It may hang or end this process: whoever scanned it did so in another.
        raise VideoError(record.path, record.cause)
    if cache is not None:
        return cache.reader(record)
    return open_video(str(check_video_file(index.root, record.path)), backend=backend)


def check_caches(
    indexes: Sequence[VideoIndex], caches: Sequence[FrameCache] | None, short_side: int
) -> None:
    """Raise InputError unless there is one fitting cache per index, or none at all."""
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
