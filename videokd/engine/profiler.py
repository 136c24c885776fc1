"""Traces of some steps of a training, made by torch.profiler."""

import logging
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

logger = logging.getLogger(__name__)


class StepProfiler:
    """Profiler of the steps ``first`` to ``last``, both included and counted from 1 as in the log.

    The trace ``profile-steps-FIRST-LAST.json.gz`` can be opened in https://ui.perfetto.dev or
    chrome://tracing. A training that resumes in the middle of the range traces the remaining steps,
    and the file name gives their range.

    Args:
        folder: Folder of the trace.
        first: First step, at least 1.
        last: Last step, at least ``first``.
        device: Device of the training; kernels of a GPU are traced too.
    """

    def __init__(self, folder: Path, *, first: int, last: int, device: torch.device) -> None:
        self._folder = folder
        self._first = first
        self._last = last
        self._device = device
        self._profile: profile | None = None
        self._traced_from = 0

    def after(self, step: int) -> None:
        """Start or end the trace after ``step`` steps; call it at the start of a training too."""
        if self._profile is not None and step >= self._last:
            self._write(step)
        elif self._profile is None and self._first <= step + 1 <= self._last:
            self._begin(step + 1)

    def close(self) -> None:
        """Stop an unfinished trace without writing it."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None
            logger.warning("the training ended before step %d: no trace was written", self._last)

    def _begin(self, step: int) -> None:
        is_cuda = self._device.type == "cuda"
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
        self._profile = profile(activities=kinds, record_shapes=True)
        self._profile.start()
        self._traced_from = step

    def _write(self, step: int) -> None:
        assert self._profile is not None
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # include kernels that still run
        self._profile.stop()
        path = self._folder / f"profile-steps-{self._traced_from}-{step}.json.gz"
        # torch compresses the trace only if the name ends in .gz.
        unfinished = path.with_name(f"tmp-{path.name}")
        self._profile.export_chrome_trace(str(unfinished))
        unfinished.replace(path)
        self._profile = None
        logger.info("wrote the trace %s", path)
