"""One worker process of a SupervisedPool: its main loop, and its handle in the parent."""

import errno
import fcntl
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import MutableSequence, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import torch

from videokd.data.pool.channel import Channel, pack

# Positions of a worker outside the items of its task.
STARTING, IDLE, COMBINING = -3, -2, -1

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}

OUT_OF_MEMORY = "it needs more memory than there is"

_EXIT_OUT_OF_MEMORY = errno.ENOMEM
# Time limit outside items: imports from a cold disk, a large batch on a machine short of memory.
_LIMIT_BESIDES_ITEMS_SEC = 120.0
# Grace period of an overdue worker, which may have been stopped along with the parent.
_GRACE_SEC = 1.0
# Time limit after SIGKILL; only a process that waits for the disk takes any time.
_KILL_LIMIT_SEC = 5.0


@dataclass(frozen=True, slots=True)
class Task:
    """A task for a worker.

    Args:
        number: Task number, returned with the answer.
        work: (position in the task, item) of the items that are not lost.
        is_whole: Whether no item is lost, so that the answer is the result of ``combine`` instead
            of the list of results.
    """

    number: int
    work: Sequence[tuple[int, Any]]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A worker's answer to a task; an ``error`` means a defect.

    Args:
        number: Number of the task; -1 for a worker that cannot start.
        value: Result of the task.
        error: Exception that was raised.
        trace: Traceback of the exception, as text.
    """

    number: int
    value: Any = None
    error: BaseException | None = None
    trace: str = ""


class WorkerTraceback(Exception):  # noqa: N818  (cause of an error, as text)
    """Traceback of an exception in a worker, used as its cause in the parent."""

    def __str__(self) -> str:
        return f"in a worker process:\n\n{self.args[0]}"


class Worker:
    """Parent's handle of a worker process; creating it starts the process.

    Args:
        context: Multiprocessing context to start it with.
        number: Argument of ``worker_init``.
        setup: File with (function, combine, worker_init), from ``worker_channel.pack``.
        deadline_sec: Longest time for an item.
        pin_memory: See ``Channel``.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(
        self,
        context: BaseContext,
        number: int,
        setup: int,
        *,
        deadline_sec: float,
        pin_memory: bool,
    ) -> None:
        self.number = number
        self.num_tasks = 0
        """Number of tasks given but not answered."""
        self._deadline_sec = deadline_sec
        # (task, position, time), written by the worker and read by this process.
        self._place = context.RawArray("d", (-1, STARTING, time.monotonic()))
        self._busy_since = 0.0
        self._overdue: tuple[float, tuple[int, int]] | None = None
        end, its_end = socket.socketpair()
        listener, self._lifeline = context.Pipe(duplex=False)
        self.channel = Channel(end, pin_memory=pin_memory)
        self._process = context.Process(  # type: ignore[attr-defined]
            target=run_worker,
            args=(its_end, listener, self._place, number),
            name=f"videokd-worker-{number}",
            daemon=True,
        )
        try:
            with its_end, listener:
                self._process.start()
        except BaseException:
            end.close()
            self._lifeline.close()
            raise
        with suppress(BrokenPipeError, ConnectionResetError):
            self.channel.send_packed(setup)

    @property
    def place(self) -> tuple[int, int]:
        """Current task number, and the position in it or one of the constants above."""
        return int(self._place[0]), int(self._place[1])

    def give(self, task: Task) -> None:
        """Send a task; answers arrive in the order of the tasks, through ``channel``."""
        if not self.num_tasks:
            self._busy_since = time.monotonic()
        self.num_tasks += 1
        # If the worker has died, the next read of the channel reports it.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.channel.send(task)

    def receive(self) -> Answer:
        """Return the answer to the oldest task.

        Raises:
            EOFError: the worker has died.
        """
        answer: Answer = self.channel.receive()
        self.num_tasks -= 1
        return answer

    def limit_sec(self, place: tuple[int, int]) -> float:
        """Return the time limit of a position."""
        return self._deadline_sec if place[1] >= 0 else _LIMIT_BESIDES_ITEMS_SEC

    def patience_sec(self) -> float:
        """Return the seconds until the next check; 0 if the worker has hung."""
        if not self.num_tasks:
            return _LIMIT_BESIDES_ITEMS_SEC
        now, place = time.monotonic(), self.place
        left = max(self._place[2], self._busy_since) + self.limit_sec(place) - now
        if left > 0:
            self._overdue = None
            return left
        if self._overdue is None or self._overdue[1] != place:
            self._overdue = now, place
        return max(0.0, self._overdue[0] + min(_GRACE_SEC, self._deadline_sec) - now)

    def kill(self) -> str:
        """Kill the process, which may be dead, hung or stopped; return a description of its end."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join(_KILL_LIMIT_SEC)
        code = self._process.exitcode
        return _describe_end(code)

    def close(self) -> None:
        """Kill the process and release its resources."""
        self.kill()
        self.channel.close()
        self._lifeline.close()
        if self._process.exitcode is not None:
            self._process.close()


def make_context() -> BaseContext:
    """Return the multiprocessing context of the workers.

    Forking this process could deadlock, since the threads and locks of decoders and CUDA do not
    survive a fork. On Linux, workers are forked from a server that has imported only what they
    need. They start in milliseconds, while a new interpreter imports torch for seconds.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    preloaded = [name for name in sys.modules if name.startswith("videokd.data.")]
    context.set_forkserver_preload(preloaded)
    # The server inherits the signal mask, so that a signal to the process group does not kill it
    # and lose the workers' exit codes. Start the tracker first, since starting it changes the mask.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return context


def run_worker(
    end: socket.socket, lifeline: Connection, place: MutableSequence[float], number: int
) -> None:
    """Run tasks until the parent is gone; main function of the worker process."""
    _end_with_parent(lifeline)
    # Ctrl-C and preemption signal all processes, but the parent decides when workers end.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    torch.set_num_threads(1)
    channel = Channel(end)
    try:
        _serve(channel, place, number)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except MemoryError:
        # A process that ran out of memory is not reused. It exits without clean-up, which may need
        # memory.
        os._exit(_EXIT_OUT_OF_MEMORY)


def _serve(channel: Channel, place: MutableSequence[float], number: int) -> None:
    try:
        function, combine, worker_init = channel.receive()
        if worker_init is not None:
            worker_init(number)
    except (EOFError, MemoryError):
        raise
    except Exception as error:
        channel.send(_fail(-1, error))
        return
    while True:
        _note(place, IDLE)
        task: Task = channel.receive()
        place[0] = task.number
        try:
            results = []
            for position, item in task.work:
                _note(place, position)
                results.append(function(item))
            _note(place, COMBINING)
            message = pack(Answer(task.number, combine(results) if task.is_whole else results))
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError from error
            _note(place, COMBINING)
            message = pack(_fail(task.number, error))
        try:
            channel.send_packed(message)
        finally:
            os.close(message)


def _note(place: MutableSequence[float], position: int) -> None:
    # Write the time first: a read in between sees a new time at an old item, which is not overdue.
    place[2] = time.monotonic()
    place[1] = position


def _fail(number: int, error: Exception) -> Answer:
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        # Some exceptions cannot be unpickled.
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Answer(number, error=error, trace=trace)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an exception reports a lack of memory."""
    # torch has no specific exception for CPU memory.
    return isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate" in str(error)


def _describe_end(code: int | None) -> str:
    if code == _EXIT_OUT_OF_MEMORY:
        return OUT_OF_MEMORY
    if code is None or code >= 0:
        return f"its process ended with exit code {code}"
    hint = ", as when the system runs out of memory" if code == -signal.SIGKILL else ""
    return f"its process died of {signal.Signals(-code).name}{hint}"


def _end_with_parent(lifeline: Connection) -> None:
    """Make the system kill this process when the parent is gone, even during a hang in C code.

    Nothing is ever written to the pipe. When its other end is closed, SIGIO is sent, which ends the
    process by default.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    handle = lifeline.fileno()
    fcntl.fcntl(handle, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    fcntl.fcntl(handle, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    try:
        gone = os.read(handle, 1) == b""
    except BlockingIOError:
        return
    if gone:
        os._exit(0)
