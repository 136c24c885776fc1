"""Handling of steps whose loss, gradient or statistics are not finite.

Such a step changes nothing and is named in the log. After more than a given number of them in a
row, the training stops.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videokd.engine.buffers import Norms
from videokd.engine.distributed import ONE_RANK, Ranks
from videokd.utils.errors import RunError

logger = logging.getLogger(__name__)

LESS_LEARNING = "try a lower SOLVER.BASE_LR or SOLVER.CLIP_GRAD_NORM 1.0"

# Number of names in a message; the first name is the most useful one.
_NUM_NAMED = 2


@dataclass(frozen=True)
class StepRecord:
    """Values of a step before it changes any weight; the tensors stay on the device."""

    step: int
    """Number of steps done before."""
    lr: float
    dataset_ids: Sequence[Tensor]
    """One (B_i,) tensor per part (micro-batch) of the step; the same holds for ``record_ids``."""
    record_ids: Sequence[Tensor]
    terms: Sequence[Mapping[str, Tensor]]
    losses: Tensor
    """(number of parts,)"""
    total_norm: Tensor
    """L2 norm of the whole gradient; not finite if any gradient is not."""
    gradients: Norms
    statistics: Norms
    scale: Tensor | None
    """Loss scale of float16 training; None without a scaler."""

    @property
    def is_good(self) -> Tensor:
        """Bool scalar on the device: losses, gradient norm and statistics are finite."""
        finite = torch.isfinite(self.losses).all() & torch.isfinite(self.total_norm)
        return finite & torch.isfinite(self.statistics.values).all()

    @property
    def is_overflow(self) -> bool:
        """Whether only the gradient is not finite, so that a lower loss scale may help."""
        return self.scale is not None and self.scale.item() > 1 and not self.is_guilty

    @property
    def is_guilty(self) -> bool:
        """Whether this rank's loss or statistics are not finite.

        The gradient does not count: it is averaged over the ranks.
        """
        rest = (self.losses, self.statistics.values)
        return not all(bool(torch.isfinite(values).all()) for values in rest)

    def describe(self) -> str:
        """Return a text that names the non-finite values and the clips of the step."""
        losses = self.losses.tolist()
        guilty = [i for i, loss in enumerate(losses) if not math.isfinite(loss)]
        kinds = {"gradient": self.gradients.pick_bad(), "statistic": self.statistics.pick_bad()}
        bad = [f"the {kind} of {_enumerate(names)}" for kind, names in kinds.items() if names]
        if not guilty and not bad:
            bad = ["the gradient's norm"]
        also = f"; {' and '.join(bad)} not finite" if bad else ""
        # If losses are not finite, only the clips of their parts are named.
        parts = guilty or list(range(len(losses)))
        datasets, records = (
            [n for i in parts for n in ids[i].tolist()]
            for ids in (self.dataset_ids, self.record_ids)
        )
        return (
            f"the loss is {losses[parts[0]]:g} at step {self.step}, learning rate {self.lr:g}: "
            f"{_mean_terms([self.terms[i] for i in parts])}{also}; "
            f"dataset ids {datasets}, record ids {records}"
        )


class SkipGuard:
    """Counter of skipped steps that raises when too many follow each other.

    Args:
        max_skipped: Steps in a row that may be skipped; 0 ends the training at the first.
        ranks: Ranks of the training; all of them count the same steps.
    """

    num_skipped: int
    """Number of skipped steps in the whole training."""

    def __init__(self, max_skipped: int, ranks: Ranks = ONE_RANK) -> None:
        self._ranks = ranks
        self.num_skipped = 0
        self._num_in_a_row = 0
        self._max_skipped = max_skipped

    def state(self) -> dict[str, int]:
        """Return the counts as plain JSON values."""
        return {"num_skipped": self.num_skipped, "num_in_a_row": self._num_in_a_row}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Load the counts of an earlier ``state()``."""
        self.num_skipped = state["num_skipped"]
        self._num_in_a_row = state["num_in_a_row"]

    def count(self, record: StepRecord, is_good: bool) -> None:
        """Count a step; steps must be counted in order.

        Raises:
            RunError: More than ``max_skipped`` steps in a row are not finite.
        """
        if is_good:
            self._num_in_a_row = 0
            return
        self.num_skipped += 1
        report = (record.is_overflow, record.is_guilty, record.describe())
        reports = self._ranks.gather(report)
        if all(is_overflow for is_overflow, _, _ in reports):
            # float16 training finds its loss scale this way, so the step does not count.
            logger.info("step %d overflows float16: skipped, the scale is halved", record.step)
            return
        self._num_in_a_row += 1
        # Report the first rank whose own loss or statistics are not finite, or rank 0 if none.
        text = next((text for _, is_guilty, text in reports if is_guilty), reports[0][2])
        if self._num_in_a_row > self._max_skipped:
            in_a_row = (
                f"{self._num_in_a_row} steps in a row, the last: " if self._max_skipped else ""
            )
            raise RunError(f"{in_a_row}{text}; {LESS_LEARNING}")
        logger.warning(
            "%s: skipped, %d in a row of %d allowed", text, self._num_in_a_row, self._max_skipped
        )


def _enumerate(names: Sequence[str]) -> str:
    rest = len(names) - _NUM_NAMED
    return " ".join([", ".join(names[:_NUM_NAMED]), *([f"and {rest} more"] if rest > 0 else [])])


def _mean_terms(each: Sequence[Mapping[str, Tensor]]) -> str:
    means = {name: sum(terms[name].item() for terms in each) / len(each) for name in each[0]}
    return ", ".join(f"{name} {value:g}" for name, value in means.items())
