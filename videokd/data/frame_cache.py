"""All frames of a small dataset, decoded once into one memory-mapped file.

frames.bin holds the frames of every video one after the other, (T, H, W, 3) uint8, scaled to one
short side; times.bin holds when each is shown, seconds as float64; manifest.json says where each
video begins. They lie in a folder named after what they were made from, and the manifest is written
last: a folder with a manifest is complete.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from videokd.data.decode import open_video
from videokd.data.index import VideoIndex, VideoRecord
from videokd.data.reader import VideoReader, scaled_size
from videokd.data.source import open_video_file
from videokd.utils.errors import InputError, VideoError
from videokd.utils.io import atomic_write_bytes, read_json, sha256_json, write_json
from videokd.utils.temporary import remove_leftovers, temporary_beside

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")
OnProgress = Callable[[int, int], None]

_VERSION = 2
_NUM_FRAMES_PER_READ = 512
# A spawned process takes seconds to start: with fewer videos it is not worth having.
_MIN_VIDEOS_PER_PROCESS = 250


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where the frames of a video lie in frames.bin; or, with a cause, why it has none."""

    path: str
    num_frames: int = 0
    height: int = 0
    width: int = 0
    fps: float = 0.0
    offset: int = 0
    cause: str = ""

    @property
    def num_bytes(self) -> int:
        return self.num_frames * self.height * self.width * 3


class FrameCache:
    """The decoded frames of one index. Pickles as its folder; each process maps the file itself.

    Args:
        folder: Made by `build`.

    Raises:
        InputError: the folder holds no complete cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            manifest = read_json(folder / "manifest.json")
            entries = [_Entry(**fields) for fields in manifest["entries"]]
            self._short_side = int(manifest["short_side"])
            self._bytes = np.asarray(np.memmap(folder / "frames.bin", np.uint8, mode="r"))
            self._times = np.asarray(np.memmap(folder / "times.bin", np.float64, mode="r"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"frame cache {folder} is damaged ({error}); delete it") from error
        self._entries = {entry.path: entry for entry in entries}
        *firsts, num_frames = accumulate((entry.num_frames for entry in entries), initial=0)
        self._firsts = {entry.path: first for entry, first in zip(entries, firsts, strict=True)}
        num_bytes = sum(entry.num_bytes for entry in entries)
        for array, size in ((self._bytes, num_bytes), (self._times, 8 * num_frames)):
            if array.nbytes != size:
                raise InputError(
                    f"frame cache {folder} is damaged ({array.nbytes} bytes instead of {size}); "
                    "delete it"
                )

    @classmethod
    def build(
        cls,
        index: VideoIndex,
        *,
        directory: Path,
        short_side: int,
        max_gib: float,
        num_processes: int = 1,
        backend: str = "auto",
        on_progress: OnProgress | None = None,
    ) -> "FrameCache":
        """Decode every video of an index, or take the cache of an earlier run that fits.

        A cache fits when records, class names, sizes and times of the files, short side and
        backend are the same. Videos that cannot be read are kept as such, see `bad_videos`.

        Args:
            index: The videos.
            directory: Parent of the folder of the cache.
            short_side: Short side of the stored frames, pixels; 0 keeps the size.
            max_gib: Largest size of the cache, GiB.
            num_processes: Most decoding processes; a small dataset is decoded in this one. They
                are spawned, so the calling script needs `if __name__ == "__main__"`.
            backend: Decoder, see `decode.open_video`.
            on_progress: Called as on_progress(done, total); a video counts once when it is
                measured and once when it is decoded.

        Raises:
            InputError: the cache would be larger than max_gib, or no video can be read.
        """
        key = _cache_key(index, short_side, backend)
        folder = directory / f"{index.dataset}-{key[:16]}"
        if not (folder / "manifest.json").is_file():
            work = _Work(str(index.root), short_side, backend)
            # Of other caches too: those of a config that nobody asks for again may be large.
            for other in directory.glob("*/"):
                remove_leftovers(other / "frames.bin")
            num_useful = min(num_processes, len(index) // _MIN_VIDEOS_PER_PROCESS)
            with _Mapper(num_useful, 2 * len(index), on_progress) as mapper:
                _fill(folder, index, work, mapper, max_gib)
        return cls(folder)

    def __reduce__(self) -> tuple[type["FrameCache"], tuple[Path]]:
        return (FrameCache, (self._folder,))

    @property
    def short_side(self) -> int:
        """Short side of the stored frames, pixels; 0 when they have the size of the video."""
        return self._short_side

    @property
    def bad_videos(self) -> dict[str, str]:
        """Causes by path of the videos that could not be read."""
        return {path: entry.cause for path, entry in self._entries.items() if entry.cause}

    def reader(self, record: VideoRecord) -> VideoReader:
        """Open the stored frames of a video.

        Raises:
            VideoError: the video could not be read when the cache was built, or is not in it.
        """
        entry = self._entries.get(record.path)
        if entry is None:
            raise VideoError(record.path, "not in the frame cache")
        if entry.cause:
            raise VideoError(record.path, entry.cause)
        stored = self._bytes[entry.offset : entry.offset + entry.num_bytes]
        frames = stored.reshape(entry.num_frames, entry.height, entry.width, 3)
        first = self._firsts[entry.path]
        times = self._times[first : first + entry.num_frames]
        return _CachedReader(frames, times, fps=entry.fps, short_side=self._short_side)


class _CachedReader:
    """The stored frames of one video as a VideoReader."""

    backend = "cache"
    num_opens = 0
    num_decoded = 0

    def __init__(
        self, frames: NDArray[np.uint8], times: NDArray[np.float64], *, fps: float, short_side: int
    ) -> None:
        self._frames = frames
        self.times = times
        self._short_side = short_side
        self.fps = fps
        self.num_frames, self.height, self.width = frames.shape[:3]

    def get_frames(self, indices: Sequence[int], *, short_side: int = 0) -> NDArray[np.uint8]:
        if short_side not in (0, self._short_side):
            raise InputError(
                f"frames are cached with short side {self._short_side}, got {short_side}"
            )
        if any(not 0 <= index < self.num_frames for index in indices):
            raise IndexError(f"frames {list(indices)} of {self.num_frames} do not all exist")
        return self._frames[np.asarray(indices, dtype=np.int64)]

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> "_CachedReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker has to know besides the video."""

    root: str
    short_side: int
    backend: str

    def open(self, path: str) -> VideoReader:
        return open_video(open_video_file(path, root=Path(self.root)), backend=self.backend)

    def measure(self, path: str) -> tuple[_Entry, NDArray[np.float64]]:
        """Find the size of a video and the times of its frames without decoding all of it."""
        try:
            with self.open(path) as reader:
                height, width = scaled_size(reader.height, reader.width, self.short_side)
                entry = _Entry(path, reader.num_frames, height, width, reader.fps)
                return entry, reader.times
        except VideoError as error:
            return _Entry(path, cause=error.cause), np.empty(0)

    def store(self, file_name: str, entry: _Entry) -> str:
        """Decode a video into its place in a file; return the cause when it cannot be done."""
        if entry.cause:
            return entry.cause
        try:
            # Written, not mapped: a full disk is then an error and not a dead process.
            with self.open(entry.path) as reader, open(file_name, "r+b") as file:
                file.seek(entry.offset)
                for first in range(0, entry.num_frames, _NUM_FRAMES_PER_READ):
                    indices = range(first, min(first + _NUM_FRAMES_PER_READ, entry.num_frames))
                    frames = reader.get_frames(indices, short_side=self.short_side)
                    if frames.shape[1:3] != (entry.height, entry.width):
                        return f"frames of {frames.shape[1]}x{frames.shape[2]} pixels"
                    file.write(frames.data)
        except VideoError as error:
            return error.cause
        return ""


class _Mapper:
    """Maps over videos in this process or in several, and reports each one done."""

    def __init__(self, num_processes: int, total: int, on_progress: OnProgress | None) -> None:
        self._pool = (
            ProcessPoolExecutor(num_processes, mp_context=get_context("spawn"))
            if num_processes > 1
            else None
        )
        self._done, self._total = 0, total
        self._on_progress = on_progress

    def __enter__(self) -> "_Mapper":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[..., _T], items: Sequence[object]) -> Iterator[_T]:
        results = (
            map(function, items)
            if self._pool is None
            else self._pool.map(function, items, chunksize=4)
        )
        for result in results:
            self._done += 1
            if self._on_progress is not None:
                self._on_progress(self._done, self._total)
            yield result


def _cache_key(index: VideoIndex, short_side: int, backend: str) -> str:
    """Hash what the frames depend on."""
    decoder = "pyav" if backend == "auto" else backend
    files: list[tuple[int, int]] = []
    for record in index.records:
        try:
            info = os.stat(index.root / record.path)
            files.append((info.st_size, info.st_mtime_ns))
        except (OSError, ValueError):
            files.append((-1, 0))
    return sha256_json([_VERSION, index.digest(), short_side, decoder, files])


def _fill(folder: Path, index: VideoIndex, work: _Work, mapper: _Mapper, max_gib: float) -> None:
    """Write frames.bin and times.bin, then manifest.json."""
    paths = [record.path for record in index.records]
    measured = list(mapper.map(work.measure, paths))
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
        causes = list(mapper.map(partial(work.store, str(place)), entries))
        os.fsync(file.fileno())
        os.replace(place, folder / "frames.bin")
    times = np.concatenate([own for _, own in measured])
    atomic_write_bytes(folder / "times.bin", times.astype(np.float64).tobytes())
    kept = [replace(e, cause=str(cause)) for e, cause in zip(entries, causes, strict=True)]
    bad = [entry for entry in kept if entry.cause]
    if bad:
        _logger.warning(
            "%s: %d of %d videos cannot be read, e.g. %s: %s",
            index.dataset,
            len(bad),
            len(kept),
            bad[0].path,
            bad[0].cause,
        )
    if len(bad) == len(kept):
        raise InputError(
            f"{index.dataset}: none of {len(kept)} videos can be read, e.g. {bad[0].path}: "
            f"{bad[0].cause}"
        )
    write_json(
        folder / "manifest.json",
        {"short_side": work.short_side, "entries": [asdict(entry) for entry in kept]},
    )


def _place(entries: Sequence[_Entry]) -> list[_Entry]:
    offsets = accumulate((entry.num_bytes for entry in entries), initial=0)
    return [replace(entry, offset=offset) for entry, offset in zip(entries, offsets, strict=False)]
