"""A trace of some steps of a training, by torch.profiler."""

import logging
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

logger = logging.getLogger(__name__)


class StepProfiler:
    """Trace the steps ``first`` to ``last``, both included and counted from 1 as in the log.

    The trace, ``profile-steps-FIRST-LAST.json.gz``, is for https://ui.perfetto.dev or
    chrome://tracing. A training that goes on in the middle of them traces the rest, and names that.

    Args:
        folder: Where the trace is written.
        first: At least 1.
        last: At least ``first``.
        device: A GPU's kernels are traced too.
    """

    def __init__(self, folder: Path, *, first: int, last: int, device: torch.device) -> None:
        self._folder = folder
        self._first = first
        self._last = last
        self._device = device
        self._profile: profile | None = None
        self._traced_from = 0

    def after(self, step: int) -> None:
        """Begin or end the trace where ``step`` steps are done; at the start of a training too."""
        if self._profile is not None and step >= self._last:
            self._write(step)
        elif self._profile is None and self._first <= step + 1 <= self._last:
            self._begin(step + 1)

    def close(self) -> None:
        """End without a trace what was not traced to its end."""
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
            torch.cuda.synchronize(self._device)  # or the kernels under way would be missing
        self._profile.stop()
        path = self._folder / f"profile-steps-{self._traced_from}-{step}.json.gz"
        # Its name must end so for it to be packed.
        unfinished = path.with_name(f"tmp-{path.name}")
        self._profile.export_chrome_trace(str(unfinished))
        unfinished.replace(path)
        self._profile = None
        logger.info("wrote the trace %s", path)
