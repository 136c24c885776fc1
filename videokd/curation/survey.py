"""Examination of the files of a dataset in supervised processes, with a journal of the results.

There are two examiners: `examine.probe` reads the packets of a file, `examine.Decode` decodes every
frame. The report of each file is appended to the journal as one JSON line as soon as it is known. A
file is examined again if its size or modification time has changed. What may be the fault of the
machine (a file that cannot be read, hangs or ends its process) is not kept and tried again.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from videokd.curation.examine import Examiner, VideoReport
from videokd.data.decode.errors import retry_read
from videokd.data.lists.index import VideoIndex
from videokd.data.lists.records import RecordTable
from videokd.data.pool.supervised_pool import Lost, SupervisedPool
from videokd.utils.errors import ReadError

_logger = logging.getLogger(__name__)

_VERSION = 3
# Each worker gets about so many tasks, and each task at most so many files.
_NUM_TASKS_PER_WORKER = 16
_MAX_PER_TASK = 16

OnReport = Callable[[str, VideoReport], None]
# (size in bytes, modification time in nanoseconds); None if the file does not exist.
_Stamp = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Survey:
    """Settings and journal of an examination of many files.

    Args:
        root: Folder of the dataset.
        journal: File that stores the reports; its folder is created if missing.
        examine: Function that examines one file; picklable.
        method: Name of the examiner and of all else that reports depend on, such as the decoder.
            Reports of another method are not reused.
        num_workers: Number of processes; 0 examines files in this process, without a deadline.
        deadline_sec: Longest time for one file.
    """

    root: Path
    journal: Path
    examine: Examiner
    method: str
    num_workers: int = 0
    deadline_sec: float = 300.0

    def run(
        self, paths: Iterable[str], on_report: OnReport | None = None
    ) -> dict[str, VideoReport]:
        """Return path -> report, in the order of paths; examine only new and changed files.

        Args:
            paths: Files relative to the root; duplicates are examined once.
            on_report: Called with each path and its report. An exception from it ends the survey;
                all reports passed to it are in the journal by then.

        Raises:
            RunError: the processes die outside any file.
        """
        known = dict(_read_journal(self.journal, self.method))
        items = [(path, known[path][0] if path in known else None) for path in dict.fromkeys(paths)]
        size = len(items) // (_NUM_TASKS_PER_WORKER * max(1, self.num_workers))
        size = min(max(1, size), _MAX_PER_TASK)
        tasks = [items[start : start + size] for start in range(0, len(items), size)]
        # Absolute, since workers may have another working directory.
        pool = SupervisedPool(
            _Examination(self.root.absolute(), self.examine),
            num_workers=self.num_workers,
            deadline_sec=self.deadline_sec,
        )
        reports: dict[str, VideoReport] = {}
        num_known = 0
        with (
            _appending(self.journal) as file,
            pool,
            closing(pool.map(tasks)) as results,
        ):
            for task, found in zip(tasks, results, strict=True):
                for (path, _), result in zip(task, found, strict=True):
                    if result is None:
                        num_known += 1
                        report = known[path][1]
                    elif isinstance(result, Lost):
                        report = _report_loss(result)
                    else:
                        stamp, report = result
                        if stamp is not None and report.num_bytes:
                            _append(file, path, stamp, self.method, report)
                    reports[path] = report
                    if on_report is not None:
                        on_report(path, report)
        if num_known:
            text = "%d of %d videos have not changed since they were examined"
            _logger.info(text, num_known, len(items))
        return reports


@dataclass(frozen=True, slots=True)
class _Examination:
    """Examination of one file, run in a worker."""

    root: Path
    examine: Examiner

    def __call__(self, item: tuple[str, _Stamp]) -> tuple[_Stamp, VideoReport] | None:
        """Return the stamp and the report of a file, or None if it has the known stamp."""
        path, known = item
        # Read first, so that a file written to meanwhile is examined again the next time.
        stamp = _read_stamp(self.root / path)
        if stamp is not None and stamp == known:
            return None
        try:
            return stamp, retry_read(lambda: self.examine(path, self.root))
        except ReadError as error:
            return stamp, VideoReport("missing", error.cause)


def _read_stamp(path: Path) -> _Stamp:
    try:
        info = path.stat()
    except (OSError, ValueError):
        return None
    return info.st_size, info.st_mtime_ns


def _report_loss(lost: Lost) -> VideoReport:
    if lost.is_lack_of_memory:
        return VideoReport("missing", lost.cause)
    return VideoReport("hung" if lost.cause.startswith("hung") else "died", lost.cause)


def add_reports(index: VideoIndex, reports: Mapping[str, VideoReport]) -> VideoIndex:
    """Return the index with the reports of its files.

    Args:
        index: The index.
        reports: Path -> report, at least one for each record.
    """
    records = []
    for record in index.records:
        report = reports[record.path]
        # A file that the system could not read is tried again by trainings.
        cause = "" if report.problem == "missing" else report.cause
        records.append(replace(record, num_frames=report.num_frames, fps=report.fps, cause=cause))
    return replace(index, records=RecordTable.from_records(records))


def _read_journal(path: Path, method: str) -> Iterator[tuple[str, tuple[_Stamp, VideoReport]]]:
    num_broken = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    row = json.loads(line)
                    if (row["version"], row["method"]) == (_VERSION, method):
                        stamp = int(row["num_bytes"]), int(row["mtime_ns"])
                        yield str(row["path"]), (stamp, VideoReport(**row["report"]))
                except (ValueError, TypeError, KeyError):
                    num_broken += 1
    except FileNotFoundError:
        return
    if num_broken > 1:  # The last line may have been cut off with the process that wrote it.
        _logger.warning("%s: %d lines are damaged; these files are read again", path, num_broken)


@contextmanager
def _appending(path: Path) -> Iterator[TextIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as end:
        if end.tell():
            end.seek(-1, 2)
            if end.read(1) != b"\n":
                end.write(b"\n")
    with path.open("a", encoding="utf-8") as file:
        yield file


def _append(file: TextIO, path: str, stamp: _Stamp, method: str, report: VideoReport) -> None:
    assert stamp is not None
    stamps = dict(zip(("num_bytes", "mtime_ns"), stamp, strict=True))
    row: dict[str, Any] = {"version": _VERSION, "method": method, "path": path, **stamps}
    file.write(json.dumps({**row, "report": asdict(report)}) + "\n")
    file.flush()
