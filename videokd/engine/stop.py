"""Stopping on a signal after a checkpoint is written."""

import logging
import signal
from types import FrameType

logger = logging.getLogger(__name__)

EXIT_STOPPED = 75
"""Exit code of a stopped command; running it again resumes. EX_TEMPFAIL of sysexits.h."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(Exception):  # noqa: N818  (it is not an error: the run goes on later)
    """Exception that ends a run after a stop signal.

    The run left a checkpoint, and the same command resumes it.
    """


class StopRequest:
    """Record of SIGINT, SIGTERM or SIGUSR1; only a second SIGINT interrupts at once.

    As a context manager, it installs the handlers and restores the old ones at the end.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._num_interrupts = 0
        self._old_handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in _SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def raise_if_set(self) -> None:
        """Raise ``Stopped`` if a signal has come; call it at points where no work is lost."""
        if self._is_set:
            raise Stopped

    @property
    def is_set(self) -> bool:
        """Whether a signal has come."""
        return self._is_set

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._is_set = True
        self._num_interrupts += number == signal.SIGINT
        if self._num_interrupts > 1 and number == signal.SIGINT:
            raise KeyboardInterrupt
        logger.warning("%s: stopping at the next safe point", signal.Signals(number).name)


def ignore_signals(worker_id: int) -> None:
    """Ignore stop signals in a loader worker; every worker calls it at its start.

    Ctrl-C and preemption signal the whole process group, but the trainer decides when workers end.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
