"""Frame decoder that verifies the index of every frame by its time."""

from collections.abc import Iterator, Sequence
from itertools import chain, dropwhile
from typing import Any

import av
import numpy as np

from videokd.data.decode.errors import ignore_damage, raise_machine_failure, short_cause
from videokd.data.decode.packets import PacketFile
from videokd.data.decode.reader import describe_size_change
from videokd.data.decode.rgb import shown_size
from videokd.data.decode.streams import open_stream
from videokd.utils.errors import VideoError


class FrameDecoder:
    """Decoder that yields wanted frames of an open file in display order.

    Each frame must carry the time of the next frame of the table, the first must be a key frame,
    and none may be flagged as damaged. Otherwise the attempt ends, and the next one starts further
    back. The first attempt does not decode unwanted frames that no other frame is predicted from.

    Args:
        file: Packets of the file.
        expected_frames: Minimum number of frames; 0 if unknown.

    Attributes:
        num_frames: Frames of the video. Counting them may need a pass over all of them, which
            expected_frames saves.
        num_decoded: Frames decoded so far. Frames still buffered in the decoder when the last
            wanted frame is returned are not counted.
        shown_size: (height, width) upright; None until a frame is decoded.

    Raises:
        VideoError: no frames, or fewer than expected.
    """

    def __init__(self, file: PacketFile, *, expected_frames: int) -> None:
        self.num_decoded = 0
        self.shown_size: tuple[int, int] | None = None
        self._path = file.source.name
        self._file = file
        self._table = file.table
        self._expected_frames = expected_frames
        self._failure = ""
        self._held_back: list[Any] = []
        self._num_counted = -1
        context = file.codec_context
        self._first_size = (context.height, context.width)
        self.num_frames = self._find_num_frames()
        if self.num_frames == 0:
            raise VideoError(self._path, "no video frames")
        if self.num_frames < expected_frames:
            raise self._too_few(self.num_frames)

    def read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Yield (index, PyAV frame) for ascending indices.

        Raises:
            VideoError: a frame cannot be decoded.
        """
        for run in self._table.plan_runs(wanted):
            yield from self._read_run(run)

    def _find_num_frames(self) -> int:
        table = self._table
        if not table.is_counted:
            return len(table.pts)
        if self._expected_frames:
            return min(self._expected_frames, table.max_frames)
        num_frames = self._count_all()
        # Damage does not end the video: frames after it exist and raise when they are requested.
        return table.max_frames if self._failure else min(num_frames, table.max_frames)

    def _read_run(self, run: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Read frames from the nearest key frame or, if that fails, from further back."""
        missing = list(run)
        num_seen = 0
        for numbered_frames in self._attempts(run):
            for index, frame in numbered_frames:
                num_seen = index + 1
                if index == missing[0]:
                    self._check_size(frame)
                    yield index, frame
                    missing.pop(0)
                if not missing:
                    self._check_held_back(run)
                    return
        if not self._failure and num_seen < self._expected_frames and self._table.is_counted:
            raise self._too_few(num_seen)
        cause = f": {self._failure}" if self._failure else ""
        raise VideoError(self._path, f"frame {missing[0]} cannot be decoded{cause}")

    def _attempts(self, run: Sequence[int]) -> Iterator[Iterator[tuple[int, Any]]]:
        if not self._table.is_counted:
            key = self._table.key_of(run[0])
            left_out = self._table.packets_to_leave_out(run)
            yield self._decode_in_order(key, left_out)
            if key > 0 or left_out:
                yield self._decode_in_order(max(key - 1, 0), frozenset())
            # Times are out of order, but no frame is missing: the n-th decoded frame is frame n.
            if self._failure or self._count_all() != self.num_frames:
                return
        yield self._decode_and_count()

    def _count_all(self) -> int:
        """Count the frames that decode, once: a damaged file may be asked for several clips."""
        if self._num_counted < 0:
            self._num_counted = sum(1 for _ in self._decode_and_count())
        return self._num_counted

    def _decode_in_order(self, key: int, left_out: frozenset[int]) -> Iterator[tuple[int, Any]]:
        """Yield (index, frame) from a key frame on, while the times of the frames are in order."""
        table = self._table
        landing = table.landing_of(key)
        due = (n for n in range(landing, len(table.pts)) if table.numbers[n] not in left_out)
        frames = self._decode_from(int(table.keys[key]), left_out)
        # Skip frames shown before the key frame, which are predicted from the previous key frame.
        frames = dropwhile(lambda f: f.pts is not None and f.pts < table.pts[landing], frames)
        for frame in frames:
            expected = next(due, None)
            if expected is None or frame.pts != table.pts[expected]:
                return
            is_no_key = key > 0 and frame.pts == table.key_pts[key] and not frame.key_frame
            if is_no_key or self._is_damaged(frame, expected):
                return
            yield expected, frame

    def _decode_and_count(self) -> Iterator[tuple[int, Any]]:
        """Yield (index, frame) from the start, ignoring times."""
        for index, frame in enumerate(self._decode_from(self._table.first)):
            if self._is_damaged(frame, index):
                return
            yield index, frame

    def _decode_from(self, number: int, left_out: frozenset[int] = frozenset()) -> Iterator[Any]:
        """Yield frames in display order, up to the first damage, which is noted in _failure."""
        self._failure = ""
        self._file.codec_context.flush_buffers()
        try:
            for place, packet in enumerate(chain(self._file.packets_from(number), [None]), number):
                if place in left_out:
                    continue
                if packet is not None and self._file.is_damaged(packet):
                    self._failure = "a part of the file is missing"
                    return
                # Looked up for each packet, since seeking may reopen the file.
                self._held_back = self._file.codec_context.decode(packet)
                while self._held_back:
                    frame = self._held_back.pop(0)
                    self.num_decoded += 1
                    self.shown_size = self.shown_size or shown_size(frame)
                    yield frame
        except av.FFmpegError as error:
            raise_machine_failure(error)
            self._failure = short_cause(error)

    def _check_size(self, frame: Any) -> None:
        """Check that a frame has the size of frame 0, which headers usually state."""
        size = frame.height, frame.width
        if size != self._first_size:
            self._first_size = self._find_first_size()
        if size != self._first_size:
            raise VideoError(self._path, describe_size_change(self._first_size, size))

    def _find_first_size(self) -> tuple[int, int]:
        """Decode frame 0 from a second handle, without disturbing the current read."""
        with self._file.source.duplicate() as file:
            container, stream = open_stream(file)
            with container:
                frame = next(container.decode(stream))
                return frame.height, frame.width

    def _check_held_back(self, run: Sequence[int]) -> None:
        """Check frames still in the decoder, which returned B-frames may be predicted from."""
        with ignore_damage():
            self._held_back += self._file.codec_context.decode(None)
        for frame in self._held_back:
            if frame.is_corrupt and self._is_decoded_before(frame, run):
                raise VideoError(self._path, f"a frame that frame {run[-1]} needs is damaged")

    def _is_decoded_before(self, frame: Any, run: Sequence[int]) -> bool:
        """Return whether a frame is decoded before one of a run; True if unknown."""
        table = self._table
        if table.is_counted or frame.pts is None:
            return True
        place = min(int(np.searchsorted(table.pts, frame.pts)), len(table.pts) - 1)
        return bool(table.numbers[place] < table.numbers[list(run)].max())

    def _is_damaged(self, frame: Any, index: int) -> bool:
        if frame.is_corrupt:
            self._failure = f"frame {index} is damaged"
        return bool(frame.is_corrupt)

    def _too_few(self, num_frames: int) -> VideoError:
        return VideoError(
            self._path, f"{num_frames} frames decode, the index says {self._expected_frames}"
        )
