"""Watchdog that ends a hung rank and prints the stacks of its threads."""

import faulthandler
import os
import tempfile
import threading
import time
from types import TracebackType

_EXIT_HUNG = 1


class Watchdog:
    """Watchdog that ends this process, and prints its stacks, when ``alive`` is not called in time.

    Use it as a context manager around work that calls ``alive`` repeatedly. Each rank has its own:
    if one hangs, the others wait for it, and all of them print their stacks.

    Args:
        limit_sec: Longest time without a call of ``alive``. If a thread holds the GIL, this class
            cannot run; then faulthandler prints the stacks from C after twice the time.
        name: Name of the rank, for the message.
    """

    def __init__(self, limit_sec: float, name: str) -> None:
        self._limit_sec = limit_sec
        self._name = name
        self._last = 0.0
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Watchdog":
        self._last = time.monotonic()
        faulthandler.dump_traceback_later(2 * self._limit_sec, exit=True)
        self._end.clear()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def alive(self) -> None:
        """Report that work goes on."""
        now = time.monotonic()
        # Re-arming starts a thread, so it is not done at each of a hundred steps per second.
        if self._thread is not None and now - self._last > self._limit_sec / 100:
            self._last = now
            faulthandler.dump_traceback_later(2 * self._limit_sec, exit=True)

    def _watch(self) -> None:
        while not self._end.wait(self._limit_sec / 100):
            if time.monotonic() - self._last > self._limit_sec:
                self._tell()
                os._exit(_EXIT_HUNG)

    def _tell(self) -> None:
        with tempfile.TemporaryFile() as file:
            faulthandler.dump_traceback(file)
            file.seek(0)
            stacks = file.read()
        head = (
            f"error: {self._name} stood still for {self._limit_sec:g} s "
            "(TRAIN.RANK_TIMEOUT_SEC); its stacks:\n"
        )
        # A single write keeps the stacks of the ranks apart.
        os.write(2, head.encode() + stacks)
