"""Pool of worker processes that may hang, die or run out of memory, at the cost of one item.

Damaged files make decoders hang, abort or crash in C code, often while holding the GIL, so that
nothing inside the process can stop them. Workers therefore run in separate processes and note their
position in shared memory. This process watches, kills and replaces them.
"""

import atexit
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar, cast

from videokd.data.pool.channel import pack
from videokd.data.pool.worker import (
    COMBINING,
    OUT_OF_MEMORY,
    Answer,
    Task,
    Worker,
    WorkerTraceback,
    is_out_of_memory,
    make_context,
)
from videokd.utils.errors import RunError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Give up after this many consecutive worker deaths outside any item.
_MAX_VAIN_DEATHS = 3
# Upper bound on one wait, since the system rejects very long timeouts.
_MAX_WAIT_SEC = 3600.0


@dataclass(frozen=True, slots=True)
class Lost:
    """An item whose worker hung, died or ran out of memory; it replaces the item's result.

    Args:
        cause: "hung for more than 30 s", "its process died of SIGSEGV", ...
        item: The item.
    """

    cause: str
    item: Any = field(default=None, compare=False)

    @property
    def is_lack_of_memory(self) -> bool:
        """Whether the machine ran out of memory, or may have: the item may not be at fault."""
        return self.cause == OUT_OF_MEMORY or "SIGKILL" in self.cause


@dataclass(eq=False, slots=True)
class _Job:
    """A task in progress."""

    number: int
    items: Sequence[Any]
    lost: dict[int, Lost]
    """Lost items by position; ``results`` is by position too."""
    results: dict[int, Any] = field(default_factory=dict)
    is_split: bool = False
    """Whether items are sent one by one, because a worker died after all of them."""
    is_done: bool = False
    value: Any = None
    error: BaseException | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a worker combines the results."""
        return not self.lost and not self.is_split

    def open_positions(self) -> list[int]:
        """Return the positions that a worker works on next."""
        done = self.lost.keys() | self.results.keys()
        rest = [i for i in range(len(self.items)) if i not in done]
        return rest[:1] if self.is_split else rest

    def task(self) -> Task:
        """Return the task for a worker with the open positions."""
        work = [(i, self.items[i]) for i in self.open_positions()]
        return Task(self.number, work, self.is_whole)

    def take(self) -> Any:
        """Return the value of the task, or raise the exception of its function."""
        if self.error is not None:
            raise self.error
        return self.value


class SupervisedPool(Generic[Item, Result]):
    """Pool of worker processes that may hang or die, at the cost of one item and one worker.

    Workers start when there is work for them and stay until the pool is closed. An exception of
    ``function`` is a defect: it is raised here in place of the task's result, with the worker's
    traceback as its cause. Running out of memory is not a defect; it loses the item.

    The calling script needs ``if __name__ == "__main__"``, since new processes import it.

    Args:
        function: item -> result, run in a worker; picklable, as are items and results.
        combine: Results and Lost, in the order of the task's items -> value of the task. Runs in
            the worker; or here, for a task with a lost item or whose worker died while combining.
        num_workers: Maximum number of processes; 0 runs everything in this process, without
            supervision.
        deadline_sec: Longest time for one item.
        worker_init: Called in each new worker with its number, from 0.
        max_ahead: Maximum number of tasks per worker that are in progress or done but not yet
            requested; >= 1.
        pin_memory: Whether to put the tensors of results into page-locked memory, for CUDA; with
            workers only.
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
            # Pickled once, since pickling a large dataset for each replaced worker is slow.
            self._setup = pack((function, combine, worker_init))
            # Runs before multiprocessing's own clean-up, which would wait for hung workers.
            atexit.register(self.close)

    def __enter__(self) -> "SupervisedPool[Item, Result]":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def map(self, tasks: Iterable[Sequence[Item | Lost]]) -> Generator[Any, None, None]:
        """Yield the value of each task, in the order of the tasks.

        Tasks are drawn as needed. Tasks in progress are cancelled with the generator, and their
        workers are killed. Use one generator of a pool at a time.

        Args:
            tasks: Sequences of items. An item that is already Lost is passed through.

        Raises:
            RunError: workers die outside any item.
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
        """Kill every worker; every wait is bounded."""
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
        """Send a worker the open positions of a job, or finish the job here if there are none."""
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
                make_context(),
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
        """Wait for an answer or a deadline, and handle it."""
        patience_sec = min(worker.patience_sec() for worker in self._workers)
        # Bounded by the deadline, since a worker may start an item meanwhile without a message.
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
        """Replace a dead or overdue worker, which was last seen at ``place``.

        Before its end it may have answered, or moved on to another item.
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
