"""Averages between two lines of the log, kept on the device so that steps do not wait for it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from videokd.engine.frozen_clock import FrozenClock
from videokd.engine.task import StepOutput
from videokd.utils.env import used_memory_bytes

# What of a line is measured, so that no two runs have it alike.
MEASURED = ("clips_per_sec", "data_wait", "teacher_share", "memory_mib", "eta_sec")


class Meters:
    """Sums of losses, terms and hits, and where the time goes.

    Args:
        device: Where the sums live.
        clock: Times the frozen networks of the training, where it has any.
    """

    _sums: dict[str, Tensor]
    _counts: dict[str, Tensor]
    _num_correct: Tensor
    _num_labelled: Tensor
    _num_clips: int
    _norm_sum: Tensor
    _norm_max: Tensor
    _num_norms: Tensor

    def __init__(self, device: torch.device, clock: FrozenClock | None = None) -> None:
        self._device = device
        self._clock = clock if clock is not None and clock.has_networks else None
        self._clear()

    def state(self) -> dict[str, Any]:
        """Return what was added since the last summary, as plain JSON values (not the times)."""
        return {
            "sums": {name: value.item() for name, value in self._sums.items()},
            "counts": {name: value.item() for name, value in self._counts.items()},
            "num_correct": self._num_correct.item(),
            "num_labelled": self._num_labelled.item(),
            "num_clips": self._num_clips,
            "grad_norms": [x.item() for x in (self._norm_sum, self._norm_max, self._num_norms)],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state()`` returned."""
        self._sums = {name: self._zero() + value for name, value in state["sums"].items()}
        self._counts = {name: self._zero() + value for name, value in state["counts"].items()}
        self._num_correct = self._zero() + state["num_correct"]
        self._num_labelled = self._zero() + state["num_labelled"]
        self._num_clips = state["num_clips"]
        norms = [self._zero() + value for value in state["grad_norms"]]
        self._norm_sum, self._norm_max, self._num_norms = norms

    def add(self, output: StepOutput, num_clips: int, is_good: Tensor | None = None) -> None:
        """Add the loss, terms and hits of one step, or of a part of it.

        Args:
            output: Of the task.
            num_clips: B.
            is_good: Bool scalar on the device; where it is false nothing is added. None: it is.
        """
        values = {"loss": output.loss.detach(), **output.terms}
        for name, value in values.items():
            count = output.counts.get(name, num_clips)
            if is_good is not None:
                # Not by a factor of zero, which leaves NaN as it is.
                value, count = torch.where(is_good, value, 0), count * is_good
            self._sums[name] = self._sums.get(name, self._zero()) + value * count
            self._counts[name] = self._counts.get(name, self._zero()) + count
        hits, num_labelled = output.correct.sum(), output.counts.get("top1", num_clips)
        if is_good is not None:
            hits, num_labelled = hits * is_good, num_labelled * is_good
        self._num_correct = self._num_correct + hits
        self._num_labelled = self._num_labelled + num_labelled
        self._num_clips += num_clips

    def add_norm(self, grad_norm: Tensor, is_good: Tensor | None = None) -> None:
        """Add one step's gradient.

        Args:
            grad_norm: Scalar on the device, its L2 norm before clipping.
            is_good: Bool scalar on the device; where it is false nothing is added. None: it is.
        """
        if is_good is not None:
            grad_norm = torch.where(is_good, grad_norm, 0)
        self._norm_sum = self._norm_sum + grad_norm
        self._norm_max = torch.maximum(self._norm_max, grad_norm)
        self._num_norms = self._num_norms + (1 if is_good is None else is_good)

    @contextmanager
    def data_wait(self) -> Iterator[None]:
        """Count the time inside as waiting for data."""
        start = time.perf_counter()
        yield
        self._wait_sec += time.perf_counter() - start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time inside (an evaluation, a checkpoint) out of the speed."""
        start = time.perf_counter()
        if self._clock is not None:
            self._clock.is_running = False
        yield
        if self._clock is not None:
            self._clock.is_running = True
        self._start += time.perf_counter() - start

    def summarise(self) -> dict[str, float]:
        """Return the means since the last call, and start anew.

        ``loss`` and each term are means over the clips that they were computed of; a term that no
        clip took part in is left out. ``top1`` is percent of the clips that have a label;
        ``grad_norm`` and ``grad_norm_max`` are over the steps. ``clips_per_sec``, ``data_wait`` and
        ``teacher_share`` (shares of the time, 0 to 1) and ``memory_mib`` are measured.
        """
        counts = {name: value.item() for name, value in self._counts.items()}
        line = {n: value.item() / counts[n] for n, value in self._sums.items() if counts[n]}
        elapsed = time.perf_counter() - self._start
        num_labelled = self._num_labelled.item()
        if num_labelled:
            line["top1"] = 100 * self._num_correct.item() / num_labelled
        line["clips_per_sec"] = self._num_clips / elapsed
        line["data_wait"] = self._wait_sec / elapsed
        num_norms = self._num_norms.item()
        if num_norms:
            line["grad_norm"] = self._norm_sum.item() / num_norms
            line["grad_norm_max"] = self._norm_max.item()
        if self._clock is not None:
            line["teacher_share"] = self._clock.take_sec() / elapsed
        line["memory_mib"] = used_memory_bytes(self._device) / 2**20
        self._clear()
        return line

    @staticmethod
    def describe(line: Mapping[str, float]) -> str:
        """Return the few numbers of a summary that fit beside a progress bar."""
        if "loss" not in line:
            return "no readable clip"
        return (
            f"loss {line['loss']:.3f}  top1 {line['top1']:5.1f}  "
            f"{line['clips_per_sec']:4.0f} clips/s  wait {line['data_wait']:4.0%}"
        )

    def _zero(self) -> Tensor:
        return torch.zeros((), device=self._device)

    def _clear(self) -> None:
        self._sums = {}
        self._counts = {}
        self._num_correct = self._zero()
        self._num_labelled = self._zero()
        self._num_clips = 0
        self._norm_sum = self._norm_max = self._num_norms = self._zero()
        self._wait_sec = 0.0
        self._start = time.perf_counter()
