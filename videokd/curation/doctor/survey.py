"""Check of many videos in supervised processes, with a journal of the results.

The report of each file is appended to the journal as one JSON line as soon as it is known. A file
is checked again if its size or modification time has changed. A file that hung or died is retried,
since the machine may have been at fault.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from videokd.curation.doctor.examine import VideoPath, VideoReport
from videokd.data.pool.supervised_pool import Lost, SupervisedPool

_logger = logging.getLogger(__name__)

_VERSION = 2

Examiner = Callable[[VideoPath], VideoReport]
OnReport = Callable[[VideoPath, VideoReport], None]


@dataclass(frozen=True, slots=True)
class Survey:
    """Settings and journal of a check of many videos.

    Args:
        examine: Function that checks one video; picklable.
        journal: File that stores the reports; its folder must exist.
        method: Other settings that reports depend on, such as the decoder. Reports of another
            method are not reused.
        num_workers: Number of processes; 0 checks files in this process, without a deadline.
        deadline_sec: Longest time for one file; a file that takes longer is reported as hung.
        worker_init: Called in each worker with its number.
    """

    examine: Examiner
    journal: Path
    method: str = ""
    num_workers: int = 0
    deadline_sec: float = 300.0
    worker_init: Callable[[int], None] | None = None

    def recall(self, videos: Iterable[VideoPath]) -> dict[VideoPath, VideoReport]:
        """Return the journal's reports of the given videos that have not changed since."""
        known = dict(_read_journal(self.journal, self.method))
        found = {}
        for video in videos:
            key = _key_of(video)
            if key is not None and key in known:
                found[video] = known[key]
        return found

    def run(self, videos: Iterable[VideoPath], on_report: OnReport) -> None:
        """Check videos in order and append their reports to the journal.

        Args:
            videos: Videos without a report from `recall`.
            on_report: Called with each video and its report. An exception from it ends the survey;
                all reports passed to it are in the journal by then.
        """
        pool = SupervisedPool(
            self.examine,
            num_workers=self.num_workers,
            deadline_sec=self.deadline_sec,
            worker_init=self.worker_init,
        )
        videos = list(videos)
        keys = [_key_of(video) for video in videos]
        with (
            _appending(self.journal) as file,
            pool,
            closing(pool.map([video] for video in videos)) as results,
        ):
            for video, key, (result,) in zip(videos, keys, results, strict=True):
                report = _report_loss(result) if isinstance(result, Lost) else result
                if key is not None and report.sha256:
                    _append(file, key, self.method, report)
                on_report(video, report)


_Key = tuple[str, int, int]


def _key_of(video: VideoPath) -> _Key | None:
    """Return (path, size, modification time) of a file, or None if it does not exist."""
    try:
        info = video.whole.stat()
    except (OSError, ValueError):
        return None
    return str(video.whole), info.st_size, info.st_mtime_ns


def _report_loss(lost: Lost) -> VideoReport:
    problem = "hung" if lost.cause.startswith("hung") else "died"
    return VideoReport(problem, lost.cause)


def _read_journal(path: Path, method: str) -> Iterator[tuple[_Key, VideoReport]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    num_broken = 0
    for line in lines:
        try:
            row = json.loads(line)
            if (row["version"], row["method"]) == (_VERSION, method):
                key = (str(row["path"]), int(row["num_bytes"]), int(row["mtime_ns"]))
                yield key, VideoReport(**row["report"])
        except (ValueError, TypeError, KeyError):
            num_broken += 1
    if num_broken > 1:  # The last line may have been cut off with the process that wrote it.
        _logger.warning("%s: %d lines are damaged; these files are read again", path, num_broken)


@contextmanager
def _appending(path: Path) -> Iterator[TextIO]:
    with path.open("a+b") as end:
        if end.tell():
            end.seek(-1, 2)
            if end.read(1) != b"\n":
                end.write(b"\n")
    with path.open("a", encoding="utf-8") as file:
        yield file


def _append(file: TextIO, key: _Key, method: str, report: VideoReport) -> None:
    place = dict(zip(("path", "num_bytes", "mtime_ns"), key, strict=True))
    row: dict[str, Any] = {"version": _VERSION, "method": method, **place, "report": asdict(report)}
    file.write(json.dumps(row) + "\n")
    file.flush()
