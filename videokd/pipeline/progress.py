"""Progress bars on the terminal."""

import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from videokd.engine.stop import StopRequest


class Bar:
    """One progress bar.

    Args:
        progress: The live display of the bar.
        name: Text in front of the bar.
        total: Total number of steps.
    """

    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=total, text="")

    def update(self, step: int, text: str) -> None:
        """Show ``step`` finished steps; an empty ``text`` keeps the previous one."""
        if text:
            self._progress.update(self._task, completed=step, text=text)
        else:
            self._progress.update(self._task, completed=step)


@contextmanager
def progress_bar(console: Console, name: str, total: int) -> Iterator[Bar]:
    """Show a bar while the body runs; its last state stays on the terminal."""
    columns = (
        TextColumn("{task.description:24s}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # In a file or a pipe a live display would print only its last frame.
    if not console.is_terminal:
        yield _LineBar(console, name, total)
        return
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, name, total)


@contextmanager
def phase_bar(console: Console, stop: StopRequest) -> Iterator["PhaseBar"]:
    """Yield a bar for work in phases; after a signal its update raises Stopped."""
    with ExitStack() as stack:
        try:
            yield PhaseBar(console, stop, stack)
        except (BrokenProcessPool, KeyboardInterrupt):
            # The signal also reached the worker processes.
            stop.raise_if_set()
            raise


class PhaseBar:
    """Progress bar that appears at the first update and restarts when the name changes."""

    def __init__(self, console: Console, stop: StopRequest, stack: ExitStack) -> None:
        self._console = console
        self._stop = stop
        self._stack = stack
        self._name = ""
        self._bar: Bar | None = None

    def update(self, name: str, done: int, total: int) -> None:
        """Show ``done`` of ``total`` for the phase ``name``; raise Stopped after a signal."""
        if self._bar is None or name != self._name:
            self._stack.close()
            self._name = name
            self._bar = self._stack.enter_context(progress_bar(self._console, name, total))
        self._bar.update(done, "")
        self._stop.raise_if_set()


class _LineBar(Bar):
    """Progress as log lines: one about every ten seconds and one at the end."""

    def __init__(self, console: Console, name: str, total: int) -> None:
        self._console = console
        self._name = name
        self._total = total
        self._start = self._last = time.monotonic()
        self._text = ""
        self._first: tuple[int, float] | None = None

    def update(self, step: int, text: str) -> None:
        self._text = text or self._text
        now = time.monotonic()
        # An earlier process may have done the steps before the first report, so they do not count
        # for the speed.
        first, since = self._first = self._first or (step, now)
        if now - self._last > 10 or step == self._total:
            self._last = now
            elapsed, rest = now - self._start, self._total - step
            left = f"{(now - since) / (step - first) * rest:.0f}" if step > first else "?"
            self._console.print(
                f"{self._name}: {step}/{self._total}  {self._text}  {elapsed:.0f} s, {left} s left",
                highlight=False,
                soft_wrap=True,
            )
