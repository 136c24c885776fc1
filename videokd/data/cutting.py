"""Clips of several shapes around the same moment of a video, cut from one decode.

Networks that differ in frames, rate or crop each get their own clip of what the others see: the
same instant, the same box of the decoded frame, the same flip and colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videokd.data.reader import VideoReader
from videokd.data.sampling import clip_frame_indices
from videokd.utils.errors import InputError


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """The shape of a clip.

    Args:
        num_frames: Frames in a clip.
        sampling_rate: Source frames from one frame of the clip to the next.
        crop_size: Side of the square clip, pixels.
        short_side: Short side of the decoded frames that crops are cut from, pixels; 0 keeps
            the size of the video.
        box_size: Side of the square that a view without a drawn crop cuts out of the decoded
            frames, before it is resized to crop_size; 0 = crop_size.
    """

    num_frames: int
    sampling_rate: int
    crop_size: int
    short_side: int
    box_size: int = 0

    @property
    def name(self) -> str:
        """Frames x rate x crop, like "16x2x112"."""
        return f"{self.num_frames}x{self.sampling_rate}x{self.crop_size}"

    @property
    def span(self) -> int:
        """Source frames from the first to the last of a clip, both included."""
        return (self.num_frames - 1) * self.sampling_rate + 1

    @property
    def box(self) -> int:
        """Side of the square that is cut out where no crop is drawn, decoded pixels."""
        return self.box_size or self.crop_size


@dataclass(frozen=True, slots=True)
class ClipSet:
    """The clips that are cut of each moment.

    Args:
        main: Its place in the video is drawn, or spread over it in a test.
        others: Cut around the middle of the main clip with the same view.
        plain: Cut there without augmentation, for networks that are shown that.

    Raises:
        InputError: the decoded frames or boxes of two of them differ, or two of ``main`` and
            ``others`` are the same.
    """

    main: ClipSpec
    others: tuple[ClipSpec, ...] = ()
    plain: tuple[ClipSpec, ...] = ()

    def __post_init__(self) -> None:
        for spec in (*self.others, *self.plain):
            if (spec.short_side, spec.box) != (self.main.short_side, self.main.box):
                raise InputError(
                    f"clips of one decode must agree in short side and box, got "
                    f"{self.main.short_side} and {self.main.box} px, {spec.short_side} and "
                    f"{spec.box} px"
                )
        names = [spec.name for spec in (self.main, *self.others)]
        if len(set(names)) < len(names):
            raise InputError(f"clips of one moment must differ in shape, got {', '.join(names)}")

    @property
    def specs(self) -> tuple[ClipSpec, ...]:
        """Every shape once, the main one first."""
        return tuple(dict.fromkeys((self.main, *self.others, *self.plain)))

    def list_frames(self, start: int, num_video_frames: int) -> list[NDArray[np.int64]]:
        """List the source frames of the clips of a moment.

        Args:
            start: First frame of the main clip.
            num_video_frames: Frames in the video.

        Returns:
            One array of frame numbers for each of ``specs``.
        """
        starts = [
            companion_start(start, num_video_frames, span=self.main.span, other_span=spec.span)
            for spec in self.specs
        ]
        return [
            clip_frame_indices(
                first,
                num_video_frames,
                num_frames=spec.num_frames,
                sampling_rate=spec.sampling_rate,
            )
            for first, spec in zip(starts, self.specs, strict=True)
        ]


def companion_start(start: int, num_video_frames: int, *, span: int, other_span: int) -> int:
    """Place a clip around the middle of another one.

    Of the other clip that part counts which lies in the video. The result is shifted as little as
    it takes to keep it inside of the video; where it does not fit at all, it starts with it.

    Args:
        start: First frame of the clip that is there.
        num_video_frames: Frames in the video.
        span: Source frames that it spans.
        other_span: Source frames that the clip to place spans.

    Returns:
        0 .. num_video_frames - 1; ``start`` where both spans are the same.
    """
    covered = min(span, num_video_frames - start)
    last = max(num_video_frames - other_span, 0)
    return min(max(start + (covered - other_span) // 2, 0), last)


class SharedFrames:
    """The frames of several clips of a video: one request to its reader, each frame once.

    Args:
        reader: The open video.
        clips: Source frames of each clip, in any order, repetitions allowed.
        short_side: Of the decoded frames, see ``VideoReader.get_frames``.

    Attributes:
        indices: ``clips``.

    Raises:
        VideoError: a frame cannot be decoded.
    """

    def __init__(
        self, reader: VideoReader, clips: Sequence[NDArray[np.int64]], *, short_side: int
    ) -> None:
        self.indices = tuple(clips)
        wanted, places = np.unique(np.concatenate(clips), return_inverse=True)
        ends = np.cumsum([len(clip) for clip in clips])
        self._rows = np.split(places, ends[:-1])
        self._frames = reader.get_frames(wanted.tolist(), short_side=short_side)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self._frames.shape[1:3]
        return height, width

    def clip(self, number: int) -> NDArray[np.uint8]:
        """Return the frames of a clip, (T, H, W, 3); not to be written to."""
        rows = self._rows[number]
        first, last = int(rows[0]), int(rows[-1])
        if np.array_equal(rows, np.arange(first, last + 1)):
            return self._frames[first : last + 1]
        return self._frames[rows]
