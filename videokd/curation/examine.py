"""Examination of one video file, by its packets or by decoding every frame.

Decoders conceal damage where they can, but mark the affected frames; `Decode` counts marked frames
as damage. It misses damage that FFmpeg does not notice: changed bits that still decode, and most
damage in HEVC, VP8, VP9 and AV1, which FFmpeg conceals without a mark.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import av

from videokd.data.decode import open_video, probe_video
from videokd.data.decode.completeness import find_lack
from videokd.data.decode.errors import (
    library_errors,
    raise_machine_failure,
    short_cause,
)
from videokd.data.decode.reader import describe_size_change
from videokd.data.decode.rgb import shown_size
from videokd.data.decode.source import VideoFile, open_video_file
from videokd.data.decode.streams import (
    NO_VIDEO,
    OpenContainer,
    describe_choice,
    open_container,
)
from videokd.utils.errors import ReadError, VideoError
from videokd.utils.io import sha256_file

PROBLEMS = ("missing", "not a video", "corrupt", "short", "hung", "died")

# Matroska states the duration of the longest stream, and sound often outlasts the video a little.
_MAX_LACKING_SEC = 0.25
_MAX_LACKING_SEC_SHARE = 0.1
_NUM_NAMED_FRAMES = 3
_READ_SHORT_SIDE_PX = 32


@dataclass(frozen=True, slots=True)
class VideoReport:
    """Result of examining one file. An examiner fills in what it finds out.

    Args:
        problem: One of PROBLEMS, or "" if the file can be used. "missing": the system cannot open
            or read it; "short": it ends before its header says; "hung", "died": it made its process
            hang or die.
        cause: Short description; "" without a problem.
        num_bytes: Size of the file; 0 if it was not read.
        num_frames: Number of frames.
        fps: Average frames per second; 0.0 if the container does not state it.
        height: Pixels, after rotation.
        width: Pixels, after rotation.
        container: FFmpeg's name.
        codec: FFmpeg's name.
        duration_sec: Seconds; from `probe` only.
        is_counted: Whether the frames had to be counted by decoding; from `probe` only.
        num_header_frames: Number of frames that the header states; 0 if it states none. This and
            the following are from `Decode` only.
        sha256: SHA-256 of the file's bytes, hexadecimal; "" if the file was not read.
        streams: Description of the video stream that is read and of the others; "" if there is only
            one.
    """

    problem: str = ""
    cause: str = ""
    num_bytes: int = 0
    num_frames: int = 0
    fps: float = 0.0
    height: int = 0
    width: int = 0
    container: str = ""
    codec: str = ""
    duration_sec: float = 0.0
    is_counted: bool = False
    num_header_frames: int = 0
    sha256: str = ""
    streams: str = ""


Examiner = Callable[[str, Path], VideoReport]
"""(path, root) -> report; raises ReadError if the system failed to read the file."""


def probe(path: str, root: Path) -> VideoReport:
    """Read the packets of a file and return what is known without decoding it.

    Args:
        path: File, relative to the root.
        root: Folder of the dataset.

    Raises:
        ReadError: the system failed to read the file.
    """
    return _examine_file(path, root, _probe)


@dataclass(frozen=True, slots=True)
class Decode:
    """Examiner that decodes every frame of a file; picklable.

    Args:
        backend: Decoder that training uses, see `decode.open_video`; it must read the file too.
    """

    backend: str = "auto"

    def __call__(self, path: str, root: Path) -> VideoReport:
        """Decode every frame of a file and return a report of all problems; see `probe`."""
        return _examine_file(path, root, self._decode)

    def _decode(self, file: VideoFile) -> VideoReport:
        with library_errors(file.name):
            digest = sha256_file(Path(file.decoder_path))
        report = VideoReport(num_bytes=file.num_bytes, sha256=digest)
        try:
            with library_errors(file.name), open_container(file) as opened:
                report = _decode_all(opened, report)
        except ReadError:
            raise
        except VideoError as error:
            problem = "not a video" if error.cause.startswith(NO_VIDEO) else "corrupt"
            return replace(report, problem=problem, cause=error.cause)
        return report if report.problem else self._ask_reader(file, report)

    def _ask_reader(self, file: VideoFile, report: VideoReport) -> VideoReport:
        """Check that the reader of training can read as many frames as were decoded."""
        try:
            with open_video(file.duplicate(), backend=self.backend) as reader:
                num_frames = reader.num_frames
                if num_frames > report.num_frames:
                    cause = f"{report.num_frames} of {num_frames} frames decode"
                    return replace(report, problem="corrupt", cause=cause)
                # All frames decode in order; this read tests a seek to the last one, if the reader
                # seeks.
                reader.get_frames([num_frames - 1], short_side=_READ_SHORT_SIDE_PX)
        except ReadError:
            raise
        except VideoError as error:
            return replace(report, problem="corrupt", cause=error.cause)
        return replace(report, num_frames=num_frames)


def _examine_file(
    path: str, root: Path, examine: Callable[[VideoFile], VideoReport]
) -> VideoReport:
    try:
        file = open_video_file(path, root=root)
    except ReadError:
        raise
    except VideoError as error:
        return VideoReport("not a video", error.cause)
    with file:
        return examine(file)


def _probe(file: VideoFile) -> VideoReport:
    num_bytes = file.num_bytes
    try:
        facts = probe_video(file.duplicate())
    except ReadError:
        raise
    except VideoError as error:
        return VideoReport("corrupt", error.cause, num_bytes)
    return VideoReport(num_bytes=num_bytes, **asdict(facts))


@dataclass
class _Pass:
    """State of one pass over all packets of a file."""

    num_packets: int = 0
    num_whole_packets: int = 0
    last_dts: int | None = None
    num_frames: int = 0
    damaged: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    end_sec: float = 0.0

    def decode(self, opened: OpenContainer, packet: Any) -> None:
        """Decode a packet; None flushes the decoder."""
        try:
            for frame in opened.stream.decode(packet):
                if frame.is_corrupt:
                    self.damaged.append(self.num_frames)
                size = shown_size(frame)
                if not self.sizes or self.sizes[-1] != size:
                    self.sizes.append(size)
                self.num_frames += 1
                lasts_sec = float((frame.duration or 0) * (frame.time_base or 0))
                self.end_sec = max(self.end_sec, (frame.time or 0.0) + lasts_sec)
        except av.FFmpegError as error:
            raise_machine_failure(error)
            self.failures.append(f"at frame {self.num_frames}: {short_cause(error)}")


def _decode_all(opened: OpenContainer, report: VideoReport) -> VideoReport:
    """Decode a whole file to its end, continuing after damage."""
    totals = _Pass()
    try:
        for packet in opened.demux():
            totals.num_packets += 1
            if not packet.is_corrupt:
                totals.num_whole_packets += 1
                totals.last_dts = packet.dts
            if packet.size:
                totals.decode(opened, packet)
    except av.FFmpegError as error:
        raise_machine_failure(error)
        totals.failures.append(f"after packet {totals.num_packets}: {short_cause(error)}")
    totals.decode(opened, None)
    stream = opened.stream
    rate = stream.average_rate or stream.guessed_rate
    height, width = totals.sizes[0] if totals.sizes else (0, 0)
    problem, cause = _judge(opened, totals)
    return replace(
        report,
        problem=problem,
        cause=cause,
        num_frames=totals.num_frames,
        num_header_frames=stream.frames,
        fps=float(rate) if rate else 0.0,
        height=height,
        width=width,
        container=opened.format,
        codec=stream.codec_context.name,
        streams=describe_choice(opened.container, stream),
    )


def _judge(opened: OpenContainer, totals: _Pass) -> tuple[str, str]:
    """Return (problem, cause) of a decoded file."""
    failure = f" ({totals.failures[0]})" if totals.failures else ""
    if not totals.num_frames:
        return "corrupt", f"no frame can be decoded{failure}"
    if lack := _find_lack(opened, totals):
        return "short", lack
    if totals.damaged:
        named = ", ".join(map(str, totals.damaged[:_NUM_NAMED_FRAMES]))
        more = ", ..." if len(totals.damaged) > _NUM_NAMED_FRAMES else ""
        count = f"{len(totals.damaged)} of {totals.num_frames} frames"
        return "corrupt", f"{count} damaged: {named}{more}{failure}"
    if totals.failures:
        return "corrupt", f"cannot be decoded {totals.failures[0]}"
    if len(totals.sizes) > 1:
        return "corrupt", describe_size_change(totals.sizes[0], totals.sizes[1])
    return "", ""


def _find_lack(opened: OpenContainer, totals: _Pass) -> str:
    """Return a line about content that the header promises and the file lacks; "" if none."""
    lack = find_lack(
        opened.file, opened.stream, num_packets=totals.num_whole_packets, last_dts=totals.last_dts
    )
    duration = opened.container.duration
    if lack or opened.format != "matroska" or not duration:
        return lack
    duration_sec = duration / av.time_base
    start_sec = (opened.container.start_time or 0) / av.time_base
    lacking_sec = start_sec + duration_sec - totals.end_sec
    if lacking_sec > max(_MAX_LACKING_SEC, _MAX_LACKING_SEC_SHARE * duration_sec):
        return f"{duration_sec - lacking_sec:.1f} of {duration_sec:.1f} seconds"
    return ""
