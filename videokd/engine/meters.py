"""Averages between two log lines, kept on the device so that steps do not wait for it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from videokd.engine.distributed import ONE_RANK, Ranks
from videokd.engine.frozen_clock import FrozenClock
from videokd.engine.task import StepOutput
from videokd.utils.env import used_memory_bytes

# Measured fields of a log line, which differ between any two runs.
MEASURED = ("clips_per_sec", "data_wait", "teacher_share", "memory_mib", "eta_sec")


class Meters:
    """Sums of losses, terms and correct predictions between two log lines, and timings.

    Args:
        device: Device of the sums.
        clock: Timer of the training's frozen networks; None without them.
        ranks: Ranks of the training; each adds its own clips.
    """

    _sums: dict[str, Tensor]
    _counts: dict[str, Tensor]
    _num_correct: Tensor
    _num_labelled: Tensor
    _num_clips: int
    _norm_sum: Tensor
    _norm_max: Tensor
    _num_norms: Tensor

    def __init__(
        self, device: torch.device, clock: FrozenClock | None = None, ranks: Ranks = ONE_RANK
    ) -> None:
        self._device = device
        self._ranks = ranks
        self._clock = clock if clock is not None and clock.has_networks else None
        self._clear()

    def state(self) -> dict[str, Any]:
        """Return the sums since the last summary as plain JSON values, without the timings.

        With several ranks, the sums of each rank are kept apart: adding them in another order would
        change the rounding.
        """
        own = self._own_state()
        return own if self._ranks.is_alone else {"by_rank": self._ranks.gather(own)}

    def _own_state(self) -> dict[str, Any]:
        return {
            "sums": {name: value.item() for name, value in self._sums.items()},
            "counts": {name: value.item() for name, value in self._counts.items()},
            "num_correct": self._num_correct.item(),
            "num_labelled": self._num_labelled.item(),
            "num_clips": self._num_clips,
            "grad_norms": [x.item() for x in (self._norm_sum, self._norm_max, self._num_norms)],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Load the sums of an earlier ``state()``, made by any number of ranks."""
        parts = state.get("by_rank", [state])
        # The gradient is averaged over the ranks, so its norms are the same on each.
        norms = [self._zero() + value for value in parts[0]["grad_norms"]]
        self._norm_sum, self._norm_max, self._num_norms = norms
        if len(parts) == self._ranks.num_ranks:
            total = parts[self._ranks.rank]
        else:  # rank 0 takes the sums of all
            total = _add_up(parts if self._ranks.is_first else [])
        self._sums = {name: self._zero() + value for name, value in total["sums"].items()}
        self._counts = {name: self._zero() + value for name, value in total["counts"].items()}
        self._num_correct = self._zero() + total["num_correct"]
        self._num_labelled = self._zero() + total["num_labelled"]
        self._num_clips = total["num_clips"]

    def add(self, output: StepOutput, num_clips: int, is_good: Tensor | None = None) -> None:
        """Add the loss, terms and correct predictions of one step, or of a part of it.

        Args:
            output: Output of the task.
            num_clips: B.
            is_good: Bool scalar on the device; if false, nothing is added. None means true.
        """
        values = {"loss": output.loss.detach(), **output.terms}
        for name, value in values.items():
            count = output.counts.get(name, num_clips)
            if is_good is not None:
                # Multiplying by zero would keep NaN.
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
        """Add the gradient norm of one step.

        Args:
            grad_norm: Scalar on the device, the L2 norm before clipping.
            is_good: Bool scalar on the device; if false, nothing is added. None means true.
        """
        if is_good is not None:
            grad_norm = torch.where(is_good, grad_norm, 0)
        self._norm_sum = self._norm_sum + grad_norm
        self._norm_max = torch.maximum(self._norm_max, grad_norm)
        self._num_norms = self._num_norms + (1 if is_good is None else is_good)

    @contextmanager
    def data_wait(self) -> Iterator[None]:
        """Count the time in the context as waiting for data."""
        start = time.perf_counter()
        yield
        self._wait_sec += time.perf_counter() - start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time in the context (an evaluation, a checkpoint) from the speed."""
        start = time.perf_counter()
        if self._clock is not None:
            self._clock.is_running = False
        yield
        if self._clock is not None:
            self._clock.is_running = True
        self._start += time.perf_counter() - start

    def summarise(self) -> dict[str, float]:
        """Return the means since the last call over all ranks, and reset the sums.

        ``loss`` and each term are means over the clips that they were computed for; a term without
        clips is left out. ``top1`` is the percentage of correct predictions among the clips with a
        label; ``grad_norm`` is the mean and ``grad_norm_max`` the maximum over the steps.
        ``clips_per_sec`` is measured over all ranks. ``data_wait`` and ``teacher_share`` (shares of
        the time, 0 to 1) and ``memory_mib`` are measured on this rank.
        """
        total = _add_up(self._ranks.gather(self._own_state()))
        counts = total["counts"]
        line = {n: value / counts[n] for n, value in total["sums"].items() if counts[n]}
        elapsed = time.perf_counter() - self._start
        if total["num_labelled"]:
            line["top1"] = 100 * total["num_correct"] / total["num_labelled"]
        line["clips_per_sec"] = total["num_clips"] / elapsed
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
        """Return a short text of a summary for the progress bar."""
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


def _add_up(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the totals over the states of several ranks' ``Meters``, without the norms."""
    total: dict[str, Any] = {"sums": {}, "counts": {}}
    for key, sums in total.items():
        for name in chain.from_iterable(part[key] for part in parts):
            sums[name] = sum(part[key].get(name, 0) for part in parts)
    for key in ("num_correct", "num_labelled", "num_clips"):
        total[key] = sum(part[key] for part in parts)
    return total
