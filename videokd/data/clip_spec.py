"""Clips of several shapes around one moment of a video, cut from one decode.

Networks that differ in frames, rate or crop each get their own clip. All clips of a moment show the
same instant and the same box of the decoded frame, with the same flip and colours.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videokd.data.augment import SQUARE
from videokd.data.decode.reader import VideoReader
from videokd.data.sampling import DENSE, SEGMENTS, SPREAD, TemporalSampling
from videokd.utils.errors import InputError


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Shape of a clip.

    Args:
        num_frames: Frames in a clip.
        sampling_rate: Source frames from one frame of the clip to the next.
        crop_size: Side of the square clip, pixels.
        short_side: Short side of the decoded frames that crops are cut from, pixels; 0 keeps
            the size of the video.
        box_size: Short side of what a view without a drawn crop cuts out of the decoded frames,
            before it is resized to crop_size; 0 = crop_size.
        crop_shape: "square" or "frame", see ``uniform_crop_boxes``.
        sampler: "dense", "segments" or "non_local", see ``TemporalSampling``. The window of
            "non_local" has num_frames * sampling_rate frames.
        target_fps: Frame rate that frames are counted at when > 0; 0.0 counts the video's own
            frames.
        short_video: Rule for videos shorter than the clip, "spread", "clamp" or "loop".
    """

    num_frames: int
    sampling_rate: int
    crop_size: int
    short_side: int
    box_size: int = 0
    sampler: str = DENSE
    target_fps: float = 0.0
    short_video: str = SPREAD
    crop_shape: str = SQUARE

    @property
    def name(self) -> str:
        """Frames x rate x crop, such as "16x2x112"."""
        return f"{self.num_frames}x{self.sampling_rate}x{self.crop_size}"

    @property
    def sampling(self) -> TemporalSampling:
        """Temporal sampling of the clip's frames."""
        return TemporalSampling(
            self.num_frames,
            self.sampling_rate,
            kind=self.sampler,
            target_fps=self.target_fps,
            short_video=self.short_video,
            non_local_window=self.num_frames * self.sampling_rate,
        )

    @property
    def box(self) -> int:
        """Short side of what is cut when no crop is drawn, in decoded pixels."""
        return self.box_size or self.crop_size

    @property
    def shared(self) -> tuple[int, int, str, str, float, str]:
        """Settings that all clips of a moment share: frame size, box and frame counting."""
        return (
            self.short_side,
            self.box,
            self.crop_shape,
            self.sampler,
            self.target_fps,
            self.short_video,
        )


@dataclass(frozen=True, slots=True)
class ClipSet:
    """Shapes of the clips that are cut at each moment.

    Args:
        main: Main clip. Its position is drawn in training and spread over the video in tests.
        others: Clips around the middle of the main clip, with the same augmentation.
        plain: Clips around the same middle without augmentation.

    Raises:
        InputError: two clips differ in more than frames, rate and crop, or two of ``main`` and
            ``others`` are the same.
    """

    main: ClipSpec
    others: tuple[ClipSpec, ...] = ()
    plain: tuple[ClipSpec, ...] = ()

    def __post_init__(self) -> None:
        for spec in (*self.others, *self.plain):
            if spec.shared != self.main.shared:
                raise InputError(
                    "clips of one moment must agree in short side, box, its shape, sampler, rate "
                    "of the video and rule for short ones, "
                    f"got {self.main.shared} and {spec.shared}"
                )
        names = [spec.name for spec in (self.main, *self.others)]
        if len(set(names)) < len(names):
            raise InputError(f"clips of one moment must differ in shape, got {', '.join(names)}")

    @property
    def specs(self) -> tuple[ClipSpec, ...]:
        """All distinct shapes, the main one first."""
        return tuple(dict.fromkeys((self.main, *self.others, *self.plain)))

    def draw_frames(
        self,
        num_video_frames: int,
        *,
        rng: np.random.Generator,
        times: NDArray[np.float64] | None = None,
    ) -> list[NDArray[np.int64]]:
        """Draw the source frames of one moment for training.

        Args:
            num_video_frames: Frames in the video.
            rng: Source of all randomness; the numbers drawn depend on the main clip alone.
            times: Times of the frames, see ``find_times``.

        Returns:
            One array of source frames for each of ``specs``.
        """
        sampling = self.main.sampling
        if sampling.kind == SEGMENTS:
            # All clips draw the same numbers, so clips with equal frame counts show the same
            # frames.
            rngs = [rng, *(copy.deepcopy(rng) for _ in self.specs[1:])]
            return [
                spec.sampling.draw_segments(num_video_frames, rng=own, times=times)
                for spec, own in zip(self.specs, rngs, strict=True)
            ]
        length = sampling.count_frames(num_video_frames, times=times)
        return self.list_frames(sampling.draw_start(length, rng=rng), length, times=times)

    def test_frames(
        self,
        num_video_frames: int,
        *,
        num_clips: int,
        rule: str,
        times: NDArray[np.float64] | None = None,
    ) -> list[list[NDArray[np.int64]]]:
        """Return the source frames of test moments spread over a video.

        Args:
            num_video_frames: Frames in the video.
            num_clips: Number of moments.
            rule: One of ``TEST_RULES``.
            times: Times of the frames, see ``find_times``.

        Returns:
            For each moment, one array of source frames for each of ``specs``.
        """
        sampling = self.main.sampling
        if sampling.kind == SEGMENTS:
            clips = [
                spec.sampling.test_segments(
                    num_video_frames, num_clips=num_clips, rule=rule, times=times
                )
                for spec in self.specs
            ]
            return [list(moment) for moment in zip(*clips, strict=True)]
        length = sampling.count_frames(num_video_frames, times=times)
        starts = sampling.test_starts(length, num_clips=num_clips, rule=rule)
        return [self.list_frames(start, length, times=times) for start in starts]

    def list_frames(
        self, start: int, length: int, *, times: NDArray[np.float64] | None = None
    ) -> list[NDArray[np.int64]]:
        """Return the source frames of a moment, for any sampler except "segments".

        Args:
            start: First frame of the main clip's window.
            length: Frames in the video, counted at ``target_fps`` if it is set.
            times: Times of the frames, see ``find_times``.

        Returns:
            One array of frame numbers for each of ``specs``.
        """
        samplings = [spec.sampling for spec in self.specs]
        span = samplings[0].num_window_frames
        starts = [
            companion_start(start, length, span=span, other_span=sampling.num_window_frames)
            for sampling in samplings
        ]
        return [
            sampling.frames_from(own, length, times=times)
            for sampling, own in zip(samplings, starts, strict=True)
        ]


def find_times(reader: VideoReader, spec: ClipSpec) -> NDArray[np.float64] | None:
    """Return the times of a video's frames in seconds; None if the clips have no target_fps."""
    return reader.times if spec.target_fps else None


def companion_start(start: int, num_video_frames: int, *, span: int, other_span: int) -> int:
    """Return the start of a clip centred on another clip.

    Only the part of the other clip inside the video counts. The result is shifted by the minimum
    that keeps it inside the video; a clip longer than the video starts at frame 0.

    Args:
        start: First frame of the existing clip.
        num_video_frames: Frames in the video.
        span: Frames that the existing clip spans.
        other_span: Frames that the new clip spans.

    Returns:
        0 .. num_video_frames - 1; ``start`` when both spans are equal.
    """
    covered = min(span, num_video_frames - start)
    last = max(num_video_frames - other_span, 0)
    return min(max(start + (covered - other_span) // 2, 0), last)


class SharedFrames:
    """Frames of several clips of a video, read in one request and each frame once.

    Args:
        reader: The open video.
        clips: Source frames of each clip, in any order, repetitions allowed.
        short_side: Short side of the decoded frames, see ``VideoReader.get_frames``.

    Attributes:
        indices: Source frames of each clip, as passed in ``clips``.
        rows: Positions of each clip's frames in ``frames``.
        frames: (N, H, W, 3) uint8, each wanted frame once, in ascending order.

    Raises:
        VideoError: a frame cannot be decoded.
    """

    def __init__(
        self, reader: VideoReader, clips: Sequence[NDArray[np.int64]], *, short_side: int
    ) -> None:
        self.indices = tuple(clips)
        wanted, places = np.unique(np.concatenate(clips), return_inverse=True)
        ends = np.cumsum([len(clip) for clip in clips])
        self.rows = tuple(np.split(places, ends[:-1]))
        self.frames = reader.get_frames(wanted.tolist(), short_side=short_side)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.frames.shape[1:3]
        return height, width

    @cached_property
    def tensor(self) -> Tensor:
        """``frames`` as a tensor, created once."""
        return torch.from_numpy(self.frames)
