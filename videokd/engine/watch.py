"""What looks at a training and changes nothing about it: clocks, mirrors of the log, a trace."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import torch
from torch import nn

from videokd.engine.frozen_clock import FrozenClock
from videokd.engine.metrics_log import MetricsLog
from videokd.engine.mirrors import Mirror, ValidationLines, make_mirrors
from videokd.engine.profiler import StepProfiler


class Watch:
    """The means to watch one training, for the time of a ``with`` statement.

    Args:
        folder: The training's.
        title: Its name, such as "students/UCF"; the end of ``folder``.
        device: Where it runs.
        frozen: Networks in it whose share of the time is wanted.
        loggers: Where its log is shown too, see ``videokd.engine.mirrors``.
        profile_steps: (first, last) step of which a trace is written; empty for none.
        is_silent: Write nothing: another process of the same training does.

    Raises:
        InputError: A logger's package is not installed.
    """

    rolled_back_from: int | None = None
    """Step at which the training was, when it goes back to a checkpoint with the next ``begin``."""

    def __init__(
        self,
        folder: Path,
        title: str,
        *,
        device: torch.device,
        frozen: Sequence[nn.Module] = (),
        loggers: Sequence[str] = (),
        profile_steps: Sequence[int] = (),
        is_silent: bool = False,
    ) -> None:
        self.folder = folder
        self._is_silent = is_silent
        self._mirrors: tuple[Mirror, ...] = ()
        if not is_silent:
            self._mirrors = (ValidationLines(title), *make_mirrors(loggers, folder, title))
        self.clock = FrozenClock(frozen, device)
        self._profiler: StepProfiler | None = None
        if profile_steps and not is_silent:
            first, last = profile_steps
            self._profiler = StepProfiler(folder, first=first, last=last, device=device)
        self._start_step = 0
        self._start_sec = 0.0

    def __enter__(self) -> "Watch":
        self.clock.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clock.detach()
        if self._profiler is not None:
            self._profiler.close()
        for mirror in self._mirrors:
            mirror.close()

    def begin(self, step: int, *, is_evaluated: bool = True) -> MetricsLog:
        """Be told that the training begins, or goes on, with ``step`` steps done.

        Args:
            step: The steps.
            is_evaluated: See ``MetricsLog``.

        Returns:
            The log, ``metrics.jsonl`` in its folder, whose lines the mirrors take too.
        """
        self._start_step, self._start_sec = step, time.monotonic()
        self.after(step)
        path = self.folder / "metrics.jsonl"
        log = MetricsLog(
            path,
            step,
            self._mirrors,
            is_silent=self._is_silent,
            is_evaluated=is_evaluated,
        )
        if self.rolled_back_from is not None:
            log.write({"step": step, "rolled_back_from": self.rolled_back_from})
        return log

    def after(self, step: int) -> None:
        """Be told that ``step`` steps are done."""
        if self._profiler is not None:
            self._profiler.after(step)

    def eta_sec(self, step: int, num_steps: int) -> float:
        """Return the seconds to ``num_steps`` at the mean pace so far, ``step`` steps being done.

        The pace is of this process, with its evaluations and checkpoints.
        """
        elapsed = time.monotonic() - self._start_sec
        return elapsed / (step - self._start_step) * (num_steps - step)
