"""Decoding of all videos of a small dataset into a frame cache, in supervised processes."""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videokd.data.decode import open_video
from videokd.data.decode.errors import retry_read
from videokd.data.decode.reader import VideoReader, scaled_size
from videokd.data.decode.source import open_video_file
from videokd.data.frame_cache import CacheEntry, FrameCache
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.data.pool.supervised_pool import Lost, SupervisedPool
from videokd.utils.errors import InputError, ReadError, VideoError
from videokd.utils.io import atomic_write_bytes, read_json, sha256_json, write_json
from videokd.utils.temporary import remove_leftovers, temporary_beside

_logger = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]

_VERSION = 3
# Number of frames that a worker must decode within the deadline.
_NUM_FRAMES_PER_READ = 512


def write_frame_cache(
    index: VideoIndex,
    *,
    directory: Path,
    short_side: int,
    max_gib: float,
    num_processes: int = 0,
    deadline_sec: float = 30.0,
    backend: str = "auto",
    on_progress: OnProgress | None = None,
) -> FrameCache:
    """Decode every video of an index, or reuse a matching cache of an earlier run.

    A cache matches if records, class names, sizes and times of the files, short side and backend
    are the same. Unusable videos are kept as such, see ``FrameCache.bad_videos``; videos with a
    known cause are not opened. A video that a worker was lost on is retried once. If the machine
    fails (disk, network, memory), the video is bad in this run and the next run decodes again.

    Args:
        index: The videos.
        directory: Parent of the cache folder.
        short_side: Short side of the stored frames, pixels; 0 keeps the size.
        max_gib: Largest size of the cache, GiB.
        num_processes: Maximum number of decoding processes, which need `if __name__ ==
            "__main__"` in the calling script; 0 decodes in this process, without a deadline.
        deadline_sec: Longest time to decode 512 frames of a video.
        backend: Decoder, see `decode.open_video`.
        on_progress: Called as on_progress(done, total); a video counts once when it is measured
            and once when it is decoded.

    Raises:
        InputError: the cache would be larger than max_gib, or no video can be read.
        RunError: the processes die outside any video.
    """
    key = _cache_key(index, short_side, backend)
    folder = directory / f"{index.dataset}-{key[:16]}"
    if not _is_final(folder / "manifest.json"):
        work = _Work(str(index.root.absolute()), short_side, backend)
        # Leftovers of other configs' caches too, since they may be large and never reused.
        for other in directory.glob("*/"):
            remove_leftovers(other / "frames.bin")
        mapper = _Mapper(num_processes, deadline_sec, 2 * len(index), on_progress)
        _fill(folder, index, work, mapper, max_gib)
    return FrameCache(folder)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Consecutive frames of a video that are decoded together, starting at ``first``."""

    entry: CacheEntry
    expected_frames: int
    first: int


@dataclass(frozen=True, slots=True)
class _Work:
    """Measuring and decoding of one video, run in a worker."""

    root: str
    short_side: int
    backend: str

    def measure(self, record: VideoRecord) -> tuple[CacheEntry, NDArray[np.float64]]:
        """Return the size of a video and the times of its frames without decoding all of it."""

        def measure() -> tuple[CacheEntry, NDArray[np.float64]]:
            with self._open(record.path, record.num_frames) as reader:
                height, width = scaled_size(reader.height, reader.width, self.short_side)
                entry = CacheEntry(record.path, reader.num_frames, height, width, reader.fps)
                return entry, reader.times

        try:
            return retry_read(measure)
        except VideoError as error:
            return _give_up(CacheEntry(record.path), error), np.empty(0)

    def store(self, file_name: str, chunk: _Chunk) -> CacheEntry:
        """Decode frames into their place in a file; return the entry, with a cause on failure."""
        try:
            retry_read(partial(self._store, file_name, chunk))
        except VideoError as error:
            return _give_up(chunk.entry, error)
        return chunk.entry

    def _store(self, file_name: str, chunk: _Chunk) -> None:
        entry = chunk.entry
        indices = range(chunk.first, min(chunk.first + _NUM_FRAMES_PER_READ, entry.num_frames))
        with self._open(entry.path, chunk.expected_frames) as reader:
            frames = reader.get_frames(indices, short_side=self.short_side)
        if frames.shape[1:3] != (entry.height, entry.width):
            cause = f"frames of {frames.shape[1]}x{frames.shape[2]} pixels"
            raise VideoError(entry.path, cause)
        # Written instead of mapped, so that a full disk raises an error and does not kill the
        # process.
        with open(file_name, "r+b") as file:
            file.seek(entry.offset + chunk.first * entry.height * entry.width * 3)
            file.write(frames.data)

    def _open(self, path: str, expected_frames: int) -> VideoReader:
        file = open_video_file(path, root=Path(self.root))
        return open_video(file, backend=self.backend, expected_frames=expected_frames)


def _lose(entry: CacheEntry, lost: Lost) -> CacheEntry:
    return replace(entry, cause=lost.cause, is_unread=lost.is_lack_of_memory)


def _give_up(entry: CacheEntry, error: VideoError) -> CacheEntry:
    return replace(entry, cause=error.cause, is_unread=isinstance(error, ReadError))


@dataclass
class _Mapper:
    """Map function over videos in supervised processes, which reports progress per video."""

    num_processes: int
    deadline_sec: float
    total: int
    on_progress: OnProgress | None
    num_done: int = 0

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the results of each task, retrying once a task that lost its worker."""
        results = []
        with (
            SupervisedPool(
                function, num_workers=self.num_processes, deadline_sec=self.deadline_sec
            ) as pool,
            closing(pool.map(tasks)) as found,
        ):
            for result in found:
                results.append(result)
                self.num_done += 1
                if self.on_progress is not None:
                    self.on_progress(self.num_done, self.total)
            lost = [n for n, task in enumerate(tasks) if _is_newly_lost(task, results[n])]
            with closing(pool.map([tasks[n] for n in lost])) as found_again:
                for n, result in zip(lost, found_again, strict=True):
                    results[n] = result
        return results


def _is_newly_lost(items: Sequence[Any], results: Sequence[Any]) -> bool:
    pairs = zip(items, results, strict=True)
    return any(isinstance(r, Lost) and not isinstance(item, Lost) for item, r in pairs)


def _is_final(manifest: Path) -> bool:
    """Return whether a cache is complete and no video is left to retry."""
    if not manifest.is_file():
        return False
    try:
        return not any(entry["is_unread"] for entry in read_json(manifest)["entries"])
    except (OSError, ValueError, TypeError, KeyError):
        return True  # Opening the cache reports the damage.


def _cache_key(index: VideoIndex, short_side: int, backend: str) -> str:
    """Compute a hash of everything that the frames depend on."""
    decoder = "pyav" if backend == "auto" else backend
    files: list[tuple[int, int]] = []
    for record in index.records:
        try:
            info = os.stat(index.root / record.path)
            files.append((info.st_size, info.st_mtime_ns))
        except (OSError, ValueError):
            files.append((-1, 0))
    causes = [record.cause for record in index.records]
    return sha256_json([_VERSION, index.digest(), causes, short_side, decoder, files])


def _fill(folder: Path, index: VideoIndex, work: _Work, mapper: _Mapper, max_gib: float) -> None:
    """Write frames.bin and times.bin, then manifest.json."""
    # Do not open a video with a known cause: it may hang or kill its process.
    items = [Lost(record.cause, record) if record.cause else record for record in index.records]
    measured = [
        (_lose(CacheEntry(record.path), result), np.empty(0))
        if isinstance(result, Lost)
        else result
        for record, (result,) in zip(
            index.records, mapper.map(work.measure, [[item] for item in items]), strict=True
        )
    ]
    entries = [entry for entry, _ in measured]
    num_gib = sum(entry.num_bytes for entry in entries) / 2**30
    if num_gib > max_gib:
        raise InputError(
            f"{index.dataset}: caching all frames needs {num_gib:.2f} GiB, allowed are "
            f"{max_gib:g}; raise the limit, lower the short side, or switch the frame cache off"
        )
    entries = _place(entries)
    with temporary_beside(folder / "frames.bin") as (file, place):
        file.truncate(sum(entry.num_bytes for entry in entries))
        tasks = [_list_chunks(e, r) for e, r in zip(entries, index.records, strict=True)]
        stored = mapper.map(partial(work.store, str(place)), tasks)
        os.fsync(file.fileno())
        os.replace(place, folder / "frames.bin")
    times = np.concatenate([own for _, own in measured])
    atomic_write_bytes(folder / "times.bin", times.astype(np.float64).tobytes())
    kept = [_join(entry, results) for entry, results in zip(entries, stored, strict=True)]
    _report_bad(index.dataset, kept)
    write_json(
        folder / "manifest.json",
        {"short_side": work.short_side, "entries": [asdict(entry) for entry in kept]},
    )


def _list_chunks(entry: CacheEntry, record: VideoRecord) -> list[_Chunk | Lost]:
    if entry.cause:
        return []
    # The second pass must find as many frames as the first pass.
    starts = range(0, entry.num_frames, _NUM_FRAMES_PER_READ)
    return [_Chunk(entry, record.num_frames or entry.num_frames, start) for start in starts]


def _join(entry: CacheEntry, results: Sequence[CacheEntry | Lost]) -> CacheEntry:
    """Return the entry of a video, with a cause if one of its chunks was not stored."""
    for result in results:
        if isinstance(result, Lost):
            return _lose(entry, result)
        if result.cause:
            return result
    return entry


def _report_bad(dataset: str, entries: Sequence[CacheEntry]) -> None:
    bad = [entry for entry in entries if entry.cause]
    if not bad:
        return
    example = f"e.g. {bad[0].path}: {bad[0].cause}"
    if len(bad) == len(entries):
        raise InputError(f"{dataset}: none of {len(entries)} videos can be read, {example}")
    _logger.warning(
        "%s: %d of %d videos cannot be read, %s", dataset, len(bad), len(entries), example
    )


def _place(entries: Sequence[CacheEntry]) -> list[CacheEntry]:
    offsets = accumulate((entry.num_bytes for entry in entries), initial=0)
    return [replace(entry, offset=offset) for entry, offset in zip(entries, offsets, strict=False)]
