"""Transcoding of a video: smaller, with more key frames, in another container or frame rate.

Frames and times are kept unless another rate is requested. The new file is read back to verify the
number and times of its frames. Rotation is applied to the frames. Sound and pixel aspect ratio are
dropped, since no reader here uses them.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from videokd.curation.encode_spec import CONTAINERS, EncodeSpec
from videokd.data.decode import open_video
from videokd.data.decode.errors import library_errors, raise_machine_failure, short_cause
from videokd.data.decode.reader import scaled_size
from videokd.data.decode.rgb import find_orientation, shown_size
from videokd.data.decode.source import VideoFile
from videokd.data.decode.streams import OpenContainer, open_container
from videokd.utils.errors import VideoError

# Matroska stores whole milliseconds, and two rounded times are compared.
_MAX_TIME_ERROR_SEC = Fraction(2, 1000)


def transcode(source: Path | VideoFile, target: Path, spec: EncodeSpec) -> int:
    """Transcode a video; the target file is complete or absent.

    Args:
        source: Path of a video named by the user, or a file opened under a root.
        target: New file, replaced if it exists; its folder must exist. Its extension selects the
            container.
        spec: Encoding settings.

    Returns:
        Number of frames written.

    Raises:
        VideoError: the video cannot be read without damage, its times do not fit the container, or
            the new file does not read back the same.
    """
    part = target.with_name(part_name(target.name))
    try:
        with library_errors(source.name if isinstance(source, VideoFile) else str(source)):
            with open_container(source) as opened:
                plan = _plan(opened, spec, target.suffix.lower())
            with open_container(source) as opened:
                _write(opened, part, plan)
            _check_written(part, plan.times_sec)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return len(plan.times_sec)


def part_name(name: str) -> str:
    """Return the temporary name that a target of this name is written under."""
    stem, dot, extension = name.rpartition(".")
    return f".{stem}.part{dot}{extension}"


@dataclass(frozen=True, slots=True)
class _Plan:
    """Plan of the new file.

    Args:
        spec: Encoding settings.
        extension: Extension of the target.
        times_sec: Time of each new frame, from 0.
        sources: Old frame that each new frame shows, ascending.
        tick_sec: Time unit, of which all times are multiples.
        rate: Average frames per second.
        size: (height, width) of the new frames.
    """

    spec: EncodeSpec
    extension: str
    times_sec: tuple[Fraction, ...]
    sources: tuple[int, ...]
    tick_sec: Fraction
    rate: Fraction
    size: tuple[int, int]


def _plan(opened: OpenContainer, spec: EncodeSpec, extension: str) -> _Plan:
    """Decode the video once and plan all frames before writing."""
    times, old_size = _look(opened)
    rate = Fraction(opened.stream.average_rate or opened.stream.guessed_rate or 0)
    times_sec, tick_sec = _settle_times(opened, times, rate)
    if not rate:
        rate = (len(times) - 1) / times_sec[-1] if len(times) > 1 else 1 / tick_sec
    sources = tuple(range(len(times_sec)))
    if spec.fps:
        tick_sec = 1 / Fraction(spec.fps).limit_denominator(1001)
        sources = _pick_frames(times_sec, times_sec[-1] + 1 / rate, tick_sec)
        rate = 1 / tick_sec
        times_sec = tuple(n * tick_sec for n in range(len(sources)))
    if extension == ".avi":
        tick_sec = 1 / rate
        if not _are_close(times_sec, [n * tick_sec for n in range(len(times_sec))]):
            raise VideoError(opened.path, "its frame rate varies, which AVI cannot hold")
        times_sec = tuple(n * tick_sec for n in range(len(times_sec)))
    is_smaller = 0 < spec.short_side < min(old_size)
    height, width = scaled_size(*old_size, spec.short_side) if is_smaller else old_size
    size = max(2, height // 2 * 2), max(2, width // 2 * 2)
    return _Plan(spec, extension, times_sec, sources, tick_sec, rate, size)


def _look(opened: OpenContainer) -> tuple[list[int | None], tuple[int, int]]:
    """Return the times of all frames in display order, and (height, width) of the first one."""
    times: list[int | None] = []
    size = (0, 0)
    for frame in _decode(opened):
        size = size if times else shown_size(frame)
        times.append(frame.pts)
    with open_video(opened.file.duplicate()) as reader:
        if reader.num_frames != len(times):
            cause = f"{len(times)} frames decode, {reader.num_frames} are shown"
            raise VideoError(opened.path, cause)
    return times, size


def _decode(opened: OpenContainer) -> Iterator[Any]:
    """Yield all frames in display order.

    Raises:
        VideoError: a frame is damaged.
    """
    number = 0
    try:
        packets = (packet for packet in opened.demux() if packet.size)
        for packet in chain(packets, [None]):
            for frame in opened.stream.decode(packet):
                if frame.is_corrupt:
                    raise VideoError(opened.path, f"frame {number} is damaged")
                yield frame
                number += 1
    except av.FFmpegError as error:
        raise_machine_failure(error)
        cause = f"frame {number} cannot be decoded: {short_cause(error)}"
        raise VideoError(opened.path, cause) from error
    if not number:
        raise VideoError(opened.path, "no frame can be decoded")


def _settle_times(
    opened: OpenContainer, times: Sequence[int | None], rate: Fraction
) -> tuple[tuple[Fraction, ...], Fraction]:
    """Return the frames' times from 0, and the time unit that they are multiples of.

    Times out of order, as in AVI with packed B-frames, are ignored: frame n is shown at n / rate.
    """
    known = [time for time in times if time is not None]
    is_ordered = all(a < b for a, b in zip(known, known[1:], strict=False))
    if len(known) == len(times) and is_ordered:
        tick_sec = Fraction(opened.stream.time_base)
        return tuple((time - known[0]) * tick_sec for time in known), tick_sec
    if not rate:
        raise VideoError(opened.path, "neither times nor a frame rate are known")
    return tuple(n / rate for n in range(len(times))), 1 / rate


def _pick_frames(
    times_sec: Sequence[Fraction], end_sec: Fraction, step_sec: Fraction
) -> tuple[int, ...]:
    """Return the frame shown at each multiple of a step, until the end."""
    num_frames = max(1, round(end_sec / step_sec))
    return tuple(bisect_right(times_sec, n * step_sec) - 1 for n in range(num_frames))


def _write(opened: OpenContainer, target: Path, plan: _Plan) -> None:
    spec = plan.spec
    with av.open(str(target), "w", format=CONTAINERS[plan.extension]) as container:
        stream = container.add_stream(spec.encoder, rate=plan.rate, options=spec.encoder_options)
        stream.height, stream.width = plan.size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = 1  # videos are transcoded in parallel instead
        context.gop_size = spec.gop_frames
        if plan.extension == ".avi":
            context.max_b_frames = 0  # AVI stores no times to reorder frames by
        context.time_base = stream.time_base = plan.tick_sec
        # Pixel values are kept, so their colour properties are kept too.
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(context, name, getattr(opened.stream.codec_context, name))
        new = 0
        for old, frame in enumerate(_decode(opened)):
            if new < len(plan.sources) and plan.sources[new] == old:
                picture = _scale(frame, plan.size)
            while new < len(plan.sources) and plan.sources[new] == old:
                picture.pts = round(plan.times_sec[new] / plan.tick_sec)
                picture.time_base = plan.tick_sec
                picture.duration = max(1, round(1 / (plan.rate * plan.tick_sec)))
                container.mux(stream.encode(picture))
                new += 1
        container.mux(stream.encode(None))


def _scale(frame: Any, size: tuple[int, int]) -> Any:
    """Return a frame turned upright, scaled to a size and converted to 8 bits."""
    height, width = size
    orientation = find_orientation(frame)
    if any(orientation):
        planes = frame.reformat(format="yuv444p", threads=1).to_ndarray()
        turned = orientation.apply(planes, axes=(1, 2))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(turned), format="yuv444p")
    scaled = frame.reformat(width, height, "yuv420p", interpolation="BICUBIC", threads=1)
    # The encoder chooses key frames; ignore the old file's picture types.
    scaled.pict_type = 0
    return scaled


def _check_written(path: Path, times_sec: Sequence[Fraction]) -> None:
    with open_video(str(path)) as reader:
        num_frames = reader.num_frames
    with open_container(path) as opened:
        base = Fraction(opened.stream.time_base)
        written = sorted(p.pts * base for p in opened.demux() if p.size and p.pts is not None)
    if num_frames != len(times_sec) or len(written) != num_frames:
        cause = f"{num_frames} of {len(times_sec)} frames read back"
        raise VideoError(str(path), cause)
    if not _are_close([time - written[0] for time in written], times_sec):
        raise VideoError(str(path), "frames read back at other times")


def _are_close(times_sec: Sequence[Fraction], others: Sequence[Fraction]) -> bool:
    pairs = zip(times_sec, others, strict=True)
    return all(abs(time - other) <= _MAX_TIME_ERROR_SEC for time, other in pairs)
