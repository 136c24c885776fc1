"""Observers of a training that do not change it: clocks, loggers, a profiler."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import torch
from torch import nn

from videokd.engine.frozen_clock import FrozenClock
from videokd.engine.loggers import MetricsReceiver, ValidationLines, make_loggers
from videokd.engine.metrics_log import MetricsLog
from videokd.engine.profiler import StepProfiler


class Watch:
    """Observers of one training, active inside a ``with`` statement.

    Args:
        folder: Folder of the training.
        title: Name of the training, such as "students/UCF"; the end of ``folder``.
        device: Device of the training.
        frozen: Networks of the training whose share of the time is measured.
        loggers: Names of additional loggers, see ``videokd.engine.loggers``.
        profile_steps: (first, last) step of the trace; empty for no trace.
        is_silent: Write nothing, because another process of the training writes.

    Raises:
        InputError: A logger's package is not installed.
    """

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
        self._loggers: tuple[MetricsReceiver, ...] = ()
        if not is_silent:
            self._loggers = (ValidationLines(title), *make_loggers(loggers, folder, title))
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
        for receiver in self._loggers:
            receiver.close()

    def begin(self, step: int, *, is_evaluated: bool = True) -> MetricsLog:
        """Open the log when the training starts or resumes.

        Args:
            step: Number of steps done.
            is_evaluated: See ``MetricsLog``.

        Returns:
            The log ``metrics.jsonl`` in the training's folder, which also writes to the loggers.
        """
        self._start_step, self._start_sec = step, time.monotonic()
        self.after(step)
        path = self.folder / "metrics.jsonl"
        return MetricsLog(
            path,
            step,
            self._loggers,
            is_silent=self._is_silent,
            is_evaluated=is_evaluated,
        )

    def after(self, step: int) -> None:
        """Update the profiler after ``step`` steps."""
        if self._profiler is not None:
            self._profiler.after(step)

    def eta_sec(self, step: int, num_steps: int) -> float:
        """Return the estimated seconds from ``step`` to ``num_steps`` at the mean speed so far.

        The speed is that of this process, evaluations and checkpoints included.
        """
        elapsed = time.monotonic() - self._start_sec
        return elapsed / (step - self._start_step) * (num_steps - step)
