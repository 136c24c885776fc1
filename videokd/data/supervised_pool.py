"""Worker processes that may hang, die or run out of memory: each time it costs one item.

Decoders are C code that damaged files make hang, abort or crash, often while they hold Python's
lock, so that nothing inside their process can end it. Here they run in processes that note where
they are in shared memory; this one watches, kills and replaces them.
"""

import atexit
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar, cast

from videokd.data.worker import (
    COMBINING,
    OUT_OF_MEMORY,
    Answer,
    Task,
    Worker,
    WorkerTraceback,
    is_out_of_memory,
)
from videokd.data.worker_channel import pack
from videokd.utils.errors import RunError

Item = TypeVar("Item")
Result = TypeVar("Result")

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
# Deaths in a row that no item is to blame for: the next worker would die as well.
_MAX_VAIN_DEATHS = 3
# The system cannot wait for weeks at once, as a deadline of no end would have it.
_MAX_WAIT_SEC = 3600.0


@dataclass(frozen=True, slots=True)
class Lost:
    """An item whose worker hung, died or ran out of memory; it takes the place of its result.

    Args:
        cause: "hung for more than 30 s", "its process died of SIGSEGV", ...
        item: The item.
    """

    cause: str
    item: Any = field(default=None, compare=False)

    @property
    def is_lack_of_memory(self) -> bool:
        """Whether the machine ran out of memory, or may have: the item need not be at fault."""
        return self.cause == OUT_OF_MEMORY or "SIGKILL" in self.cause


@dataclass(eq=False, slots=True)
class _Job:
    """A task under way."""

    number: int
    items: Sequence[Any]
    lost: dict[int, Lost]
    """By position, as are ``results``."""
    results: dict[int, Any] = field(default_factory=dict)
    is_split: bool = False
    """Its items are worked on one by one, since a worker died after all of them."""
    is_done: bool = False
    value: Any = None
    error: BaseException | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a worker combines its results."""
        return not self.lost and not self.is_split

    def open_positions(self) -> list[int]:
        """List the positions that a worker works on next."""
        done = self.lost.keys() | self.results.keys()
        rest = [i for i in range(len(self.items)) if i not in done]
        return rest[:1] if self.is_split else rest

    def task(self) -> Task:
        """Return what a worker works on next."""
        work = [(i, self.items[i]) for i in self.open_positions()]
        return Task(self.number, work, self.is_whole)

    def take(self) -> Any:
        """Return what the task gives, or raise what its function raised."""
        if self.error is not None:
            raise self.error
        return self.value


class SupervisedPool(Generic[Item, Result]):
    """Worker processes that may hang or die: that costs one item and one worker, nothing else.

    Workers start when there is work for them and stay until the pool is closed. What ``function``
    raises is a defect and is raised here, where the result of its task would come, with the
    worker's traceback as its cause; running out of memory is not, it loses the item.

    The calling script needs ``if __name__ == "__main__"``: new processes import it.

    Args:
        function: item -> result, run in a worker; picklable, as are items and results.
        combine: Results and Lost, in the order of the task's items -> what the task gives. It runs
            in the worker; or here, for a task with a lost item or whose worker died in it.
        num_workers: Most processes; 0 runs everything in this one, where nothing can be supervised.
        deadline_sec: Longest time for one item.
        worker_init: Called in each new worker with its number, from 0.
        max_ahead: Tasks per worker that may be under way, or done and not asked for yet; >= 1.
        pin_memory: Put the tensors of results into page-locked memory, for CUDA; with workers only.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        *,
        combine: Callable[[list[Result | Lost]], Any] = list,
        num_workers: int,
        deadline_sec: float,
        worker_init: Callable[[int], None] | None = None,
        max_ahead: int = 2,
        pin_memory: bool = False,
    ) -> None:
        self._function = function
        self._combine = combine
        self._num_workers = num_workers
        self._max_ahead = max_ahead
        self._deadline_sec = deadline_sec
        self._pin_memory = pin_memory
        self._numbers = count()
        self._jobs: dict[Worker, deque[_Job]] = {}
        self._workers: list[Worker] = []
        self._num_vain_deaths = 0
        self._setup = -1
        if num_workers:
            # Pickled once: a large dataset is not pickled again for each worker that is replaced.
            self._setup = pack((function, combine, worker_init))
            # Before multiprocessing's own clean-up, which would wait for workers that hang.
            atexit.register(self.close)

    def __enter__(self) -> "SupervisedPool[Item, Result]":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def map(self, tasks: Iterable[Sequence[Item | Lost]]) -> Generator[Any, None, None]:
        """Yield what each task gives, in the order of the tasks.

        Tasks are drawn as they are needed. The tasks under way end with the generator, and with
        them their workers. One generator of a pool at a time.

        Args:
            tasks: Sequences of items. An item that is Lost already is passed on as it is.

        Raises:
            RunError: Workers die, and not at an item.
        """
        if not self._num_workers:
            for items in tasks:
                yield self._combine([self._do_here(item) for item in items])
            return
        under_way: deque[_Job] = deque()
        source = iter(tasks)
        try:
            while True:
                self._hear_all(0)
                while len(under_way) < self._max_ahead * self._num_workers:
                    drawn = list(islice(source, 1))
                    if not drawn:
                        break
                    under_way.append(self._begin(drawn[0]))
                if not under_way:
                    return
                while not under_way[0].is_done:
                    self._supervise()
                yield under_way.popleft().take()
        finally:
            for worker in [w for w in self._workers if w.num_tasks]:
                self._drop(worker)

    def close(self) -> None:
        """Kill every worker; nothing is waited for without a bound."""
        for worker in list(self._workers):
            self._drop(worker)
        if self._setup >= 0:
            os.close(self._setup)
            self._setup = -1
            atexit.unregister(self.close)

    def _do_here(self, item: Item | Lost) -> Result | Lost:
        if isinstance(item, Lost):
            return item
        try:
            return self._function(item)
        except Exception as error:
            if is_out_of_memory(error):
                return Lost(OUT_OF_MEMORY, item)
            raise

    def _begin(self, items: Sequence[Item | Lost]) -> _Job:
        lost = {i: item for i, item in enumerate(items) if isinstance(item, Lost)}
        job = _Job(next(self._numbers), items, lost)
        if lost and not job.open_positions():
            self._finish(job)
            return job
        worker = min(self._workers, key=lambda worker: worker.num_tasks, default=None)
        if (worker is None or worker.num_tasks) and len(self._workers) < self._num_workers:
            numbers = {worker.number for worker in self._workers}
            worker = self._start(min(set(range(self._num_workers)) - numbers))
        assert worker is not None
        self._go_on(worker, job)
        return job

    def _go_on(self, worker: Worker, job: _Job) -> None:
        """Give a worker what is left to do; when that is nothing, finish the job here."""
        if job.is_whole or job.open_positions():
            self._jobs[worker].append(job)
            worker.give(job.task())
        else:
            self._finish(job)

    def _finish(self, job: _Job) -> None:
        places = range(len(job.items))
        job.value = self._combine(
            [job.lost[i] if i in job.lost else job.results[i] for i in places]
        )
        job.is_done = True

    def _start(self, number: int) -> Worker:
        try:
            worker = Worker(
                _make_context(),
                number,
                self._setup,
                deadline_sec=self._deadline_sec,
                pin_memory=self._pin_memory,
            )
        except (OSError, EOFError) as error:
            raise RunError(f"a worker process cannot be started: {error!r}") from error
        self._workers.append(worker)
        self._jobs[worker] = deque()
        return worker

    def _supervise(self) -> None:
        """Wait until something happens, and see to it."""
        patience_sec = min(worker.patience_sec() for worker in self._workers)
        # Meanwhile a worker may begin an item, of which this process is not told.
        self._hear_all(min(patience_sec, self._deadline_sec, _MAX_WAIT_SEC))
        for worker in list(self._workers):
            place = worker.place
            if not worker.patience_sec():
                worker.kill()
                self._replace(worker, f"hung for more than {worker.limit_sec(place):g} s", place)

    def _hear_all(self, timeout_sec: float) -> None:
        workers = {worker.channel.fileno(): worker for worker in self._workers}
        for handle in wait(list(workers), timeout_sec):
            worker = workers[cast(int, handle)]
            try:
                self._settle(worker, worker.receive())
            except EOFError:
                self._replace(worker, worker.kill(), worker.place)

    def _settle(self, worker: Worker, answer: Answer) -> None:
        self._num_vain_deaths = 0
        if answer.error is not None:
            answer.error.__cause__ = WorkerTraceback(answer.trace)
        if answer.number < 0:
            assert answer.error is not None
            raise answer.error
        job = self._jobs[worker].popleft()
        if answer.error is not None:
            job.error, job.is_done = answer.error, True
        elif job.is_whole:
            job.value, job.is_done = answer.value, True
        else:
            job.results.update(zip(job.open_positions(), answer.value, strict=True))
            self._go_on(worker, job)

    def _replace(self, worker: Worker, cause: str, place: tuple[int, int]) -> None:
        """Put a new worker in the place of a dead one, which was at ``place`` for too long or last.

        It may have answered before its end, or have moved on before it was killed.
        """
        with suppress(EOFError):
            while worker.channel.has_message():
                self._settle(worker, worker.receive())
        jobs = self._jobs[worker]
        is_at_first = bool(jobs) and place == worker.place and place[0] == jobs[0].number
        self._drop(worker)
        if not jobs:
            return
        position = place[1]
        is_after_items = is_at_first and position == COMBINING
        if is_after_items and jobs[0].is_split:
            (position,) = jobs[0].open_positions()
        if is_at_first and position >= 0:
            jobs[0].lost[position] = Lost(cause, jobs[0].items[position])
        else:
            jobs[0].is_split |= is_after_items
            self._count_vain_death(cause)
        successor = self._start(worker.number)
        for job in jobs:
            self._go_on(successor, job)

    def _count_vain_death(self, cause: str) -> None:
        self._num_vain_deaths += 1
        if self._num_vain_deaths >= _MAX_VAIN_DEATHS:
            raise RunError(
                f"{self._num_vain_deaths} workers in a row ended, and not at their work ({cause}); "
                "what they printed may say why: too little memory, or a script without "
                '`if __name__ == "__main__"`'
            )

    def _drop(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self._jobs.pop(worker)
        worker.close()


def _make_context() -> BaseContext:
    """Return how workers are started.

    A fork of this process would hang: decoders and CUDA have threads and locks that a fork does
    not take along. Linux forks a server that has imported what workers need and nothing else: a
    worker is there in milliseconds, where a fresh interpreter imports torch for seconds.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    preloaded = [name for name in sys.modules if name.startswith("videokd.data.")]
    context.set_forkserver_preload(preloaded)
    # A server that a signal to the whole process group ended would take the workers' exit codes
    # along; it inherits the mask. Starting the tracker, which it also does, would change the mask.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return context
