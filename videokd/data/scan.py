"""Scanning the files of a dataset: in parallel, and only those that have changed."""

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from videokd.data.decode import probe_video
from videokd.data.decode.errors import retry_read
from videokd.data.media import MediaInfo, MediaTable
from videokd.data.source import open_video_file
from videokd.data.supervised_pool import Lost, SupervisedPool
from videokd.utils.errors import InputError, ReadError, VideoError

_logger = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]
# Size in bytes and time of modification in nanoseconds.
_Stamp = tuple[int, int]
# Of a file that is not known, or not to be taken for known.
_NO_STAMP = (0, 0)

# Files that a worker is told of at a time.
_NUM_PER_TASK = 16
# What is lost at most when this process is killed.
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
    """Find out what the files of a dataset are, by demuxing them.

    A file is opened unless it is known with the size and the time of modification that it has now:
    one that cannot be used is tried again when it has changed. A failure that may be the machine's
    is tried again in each scan: the system cannot open or read the file, or a worker hung or died.

    Args:
        root: Folder of the dataset.
        paths: Files relative to it. Named twice, they are scanned once.
        num_processes: Processes that read files; 0 reads them in this one, without a deadline.
        deadline_sec: Longest time for a file. One that takes longer, or ends the process that
            reads it, cannot be used.
        on_progress: Called as on_progress(done, total).
        known: What an earlier scan has found.

    Returns:
        One row per file, in the order of paths.

    Raises:
        RunError: the processes die, and not at a file.
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
    """Scan the files of a dataset with what a folder knows of them, and keep there what is found.

    An interruption loses nothing: what was found before it is kept too. So is what is known of
    files that are not asked for.

    Args:
        folder: Made when missing. Damaged, or of an older version, it is written anew.
        root: See `scan_videos` for this and what follows.
        paths: Files.
        num_processes: Processes that read them.
        deadline_sec: Longest time for a file.
        on_progress: Called as on_progress(done, total).

    Returns:
        One row per file asked for, in their order.

    Raises:
        RunError: the processes die, and not at a file.
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
    """What is to be scanned, and what is known of it."""

    root: Path
    paths: Sequence[str]
    known: Mapping[str, MediaInfo]

    def run(
        self, num_processes: int, deadline_sec: float, on_progress: OnProgress | None
    ) -> Generator[MediaInfo, None, None]:
        """Give what each file is, in their order."""
        tasks = [
            [(path, self._stamp(path)) for path in self.paths[start : start + _NUM_PER_TASK]]
            for start in range(0, len(self.paths), _NUM_PER_TASK)
        ]
        num_done = 0
        # Workers may be in another folder than this process.
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
            # That may have been the machine.
            is_unread = result.is_lack_of_memory
            return MediaInfo(path, *_NO_STAMP, result.cause, is_unread=is_unread)
        return result


@dataclass(frozen=True)
class _Look:
    """Looks at one file, in a worker."""

    root: Path

    def __call__(self, item: tuple[str, _Stamp]) -> MediaInfo | None:
        """Describe a file; None when it is as it was."""
        path, known = item
        try:
            return retry_read(lambda: self._look(path, known))
        except ReadError as error:
            return MediaInfo(path, cause=error.cause, is_unread=True)

    def _look(self, path: str, known: _Stamp) -> MediaInfo | None:
        # Read first: a file that is written to meanwhile is scanned again the next time.
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
