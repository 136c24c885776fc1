"""Parallel scan of a dataset's files; only changed files are opened."""

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from videokd.data.decode import probe_video
from videokd.data.decode.errors import retry_read
from videokd.data.decode.source import open_video_file
from videokd.data.lists.media import MediaInfo, MediaTable
from videokd.data.pool.supervised_pool import Lost, SupervisedPool
from videokd.utils.errors import InputError, ReadError, VideoError

_logger = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]
# (size in bytes, modification time in nanoseconds).
_Stamp = tuple[int, int]
# Stamp of a file that is unknown, or must be scanned again.
_NO_STAMP = (0, 0)

# Number of files per task of a worker.
_NUM_PER_TASK = 16
# Maximum number of results that are lost if this process is killed.
_NUM_PER_SAVE = 20_000


def scan_videos(
    root: Path,
    paths: Iterable[str],
    *,
    num_processes: int,
    deadline_sec: float,
    on_progress: OnProgress | None = None,
    known: Iterable[MediaInfo] = (),
) -> MediaTable:
    """Scan the files of a dataset by demuxing them.

    A file is opened unless it is known with its current size and modification time; so an unusable
    file is retried when it has changed. Failures that may be the machine's (unreadable file, hung
    or crashed worker) are retried on every scan.

    Args:
        root: Folder of the dataset.
        paths: Files relative to root; duplicates are scanned once.
        num_processes: Processes that read files; 0 reads them in this process, without a deadline.
        deadline_sec: Longest time for a file. A file that takes longer, or kills the process that
            reads it, is unusable.
        on_progress: Called as on_progress(done, total).
        known: Results of an earlier scan.

    Returns:
        One row per file, in the order of paths.

    Raises:
        RunError: the processes die outside any file.
    """
    scan = _Scan(root, list(dict.fromkeys(paths)), {info.path: info for info in known})
    return MediaTable.from_rows(scan.run(num_processes, deadline_sec, on_progress))


def update_media(
    folder: Path,
    root: Path,
    paths: Iterable[str],
    *,
    num_processes: int,
    deadline_sec: float,
    on_progress: OnProgress | None = None,
) -> MediaTable:
    """Scan the files of a dataset, reusing and updating the scan results in a folder.

    Results found before an interruption are kept, and so are known results of other files.

    Args:
        folder: Folder of the results, created if missing. Damaged or outdated results are replaced.
        root: See `scan_videos` for this and the following arguments.
        paths: Files.
        num_processes: Processes that read them.
        deadline_sec: Longest time for a file.
        on_progress: Called as on_progress(done, total).

    Returns:
        One row per requested file, in the order of paths.

    Raises:
        RunError: the processes die outside any file.
    """
    known = {info.path: info for info in _open_known(folder)}
    scan = _Scan(root, list(dict.fromkeys(paths)), dict(known))
    num_unsaved = 0
    try:
        with closing(scan.run(num_processes, deadline_sec, on_progress)) as found:
            for info in found:
                if known.get(info.path) != info:
                    known[info.path] = info
                    num_unsaved += 1
                if num_unsaved == _NUM_PER_SAVE:
                    MediaTable.from_rows(known.values()).save(folder)
                    num_unsaved = 0
    finally:
        if num_unsaved:
            MediaTable.from_rows(known.values()).save(folder)
    return MediaTable.from_rows(known[path] for path in scan.paths)


def _open_known(folder: Path) -> Iterable[MediaInfo]:
    if not folder.exists():
        return ()
    try:
        return MediaTable.open(folder)
    except InputError as error:
        _logger.warning("%s: all files are scanned again", error)
        return ()


@dataclass(frozen=True)
class _Scan:
    """Files to scan, and the known results."""

    root: Path
    paths: Sequence[str]
    known: Mapping[str, MediaInfo]

    def run(
        self, num_processes: int, deadline_sec: float, on_progress: OnProgress | None
    ) -> Generator[MediaInfo, None, None]:
        """Yield the result of each file, in the order of paths."""
        tasks = [
            [(path, self._stamp(path)) for path in self.paths[start : start + _NUM_PER_TASK]]
            for start in range(0, len(self.paths), _NUM_PER_TASK)
        ]
        num_done = 0
        # Absolute, since workers may have another working directory.
        look = _Look(self.root.absolute())
        with (
            SupervisedPool(look, num_workers=num_processes, deadline_sec=deadline_sec) as pool,
            closing(pool.map(tasks)) as results,
        ):
            for task, found in zip(tasks, results, strict=True):
                for (path, _), result in zip(task, found, strict=True):
                    yield self._settle(path, result)
                    num_done += 1
                    if on_progress is not None:
                        on_progress(num_done, len(self.paths))

    def _stamp(self, path: str) -> _Stamp:
        info = self.known.get(path)
        return _NO_STAMP if info is None else (info.num_bytes, info.mtime_ns)

    def _settle(self, path: str, result: MediaInfo | Lost | None) -> MediaInfo:
        if result is None:
            return self.known[path]
        if isinstance(result, Lost):
            # The machine may have been at fault, so retry on the next scan.
            is_unread = result.is_lack_of_memory
            return MediaInfo(path, *_NO_STAMP, result.cause, is_unread=is_unread)
        return result


@dataclass(frozen=True)
class _Look:
    """Scan of one file, run in a worker."""

    root: Path

    def __call__(self, item: tuple[str, _Stamp]) -> MediaInfo | None:
        """Return the scan result of a file, or None if the file has not changed."""
        path, known = item
        try:
            return retry_read(lambda: self._look(path, known))
        except ReadError as error:
            return MediaInfo(path, cause=error.cause, is_unread=True)

    def _look(self, path: str, known: _Stamp) -> MediaInfo | None:
        # Read first, so that a file written to meanwhile is scanned again the next time.
        stamp = _read_stamp(self.root / path)
        if stamp == known != _NO_STAMP:
            return None
        try:
            file = open_video_file(path, root=self.root)
        except ReadError:
            raise
        except VideoError as error:
            return MediaInfo(path, cause=error.cause)
        try:
            facts = probe_video(file)
        except ReadError:
            raise
        except VideoError as error:
            return MediaInfo(path, *stamp, error.cause)
        return MediaInfo(path, *stamp, **asdict(facts))


def _read_stamp(path: Path) -> _Stamp:
    try:
        info = path.stat()
    except (OSError, ValueError):
        return _NO_STAMP
    return info.st_size, info.st_mtime_ns
