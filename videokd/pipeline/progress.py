"""Progress bars on the terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


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
