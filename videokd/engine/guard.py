"""What is done about steps whose loss, gradient or statistics are not finite.

Such a step changes nothing. Up to a stated number in a row are skipped; then the training goes back
to its last checkpoint, once; then it stops. Each is named in the log.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videokd.engine.buffers import Norms
from videokd.engine.distributed import ONE_RANK, Ranks
from videokd.utils.errors import RunError

logger = logging.getLogger(__name__)

LESS_LEARNING = "try a lower SOLVER.BASE_LR or SOLVER.CLIP_GRAD_NORM 1.0"

# Names that a message holds; the first is the one that matters.
_NUM_NAMED = 2


class NonFiniteError(RunError):
    """More steps in a row than allowed were not finite, or a weight is not.

    Args:
        message: What is not finite, and where.
        step: Steps done before it.
        may_roll_back: Whether going back to a checkpoint is worth a try.
    """

    def __init__(self, message: str, *, step: int, may_roll_back: bool) -> None:
        super().__init__(message)
        self.step = step
        self.may_roll_back = may_roll_back


@dataclass(frozen=True)
class StepRecord:
    """What is known of a step before it changes anything; its tensors stay on the device."""

    step: int
    """Steps done before it."""
    lr: float
    dataset_ids: Sequence[Tensor]
    """(B_i,) of each part that the clips went through the network in; so are the next ones."""
    record_ids: Sequence[Tensor]
    terms: Sequence[Mapping[str, Tensor]]
    losses: Tensor
    """Of each part."""
    total_norm: Tensor
    """L2 norm of the whole gradient; not finite where a part of it is not."""
    gradients: Norms
    statistics: Norms
    scale: Tensor | None
    """What the loss was multiplied by, in float16."""

    @property
    def is_good(self) -> Tensor:
        """Bool scalar: everything is finite."""
        finite = torch.isfinite(self.losses).all() & torch.isfinite(self.total_norm)
        return finite & torch.isfinite(self.statistics.values).all()

    @property
    def is_overflow(self) -> bool:
        """Whether only the gradient is not finite, and a lower scale may mend that."""
        return self.scale is not None and self.scale.item() > 1 and not self.is_guilty

    @property
    def is_guilty(self) -> bool:
        """Whether it is the loss or a statistic; a gradient is that of all ranks."""
        rest = (self.losses, self.statistics.values)
        return not all(bool(torch.isfinite(values).all()) for values in rest)

    def describe(self) -> str:
        """Say what is not finite, and of which clips."""
        losses = self.losses.tolist()
        guilty = [i for i, loss in enumerate(losses) if not math.isfinite(loss)]
        kinds = {"gradient": self.gradients.pick_bad(), "statistic": self.statistics.pick_bad()}
        bad = [f"the {kind} of {_enumerate(names)}" for kind, names in kinds.items() if names]
        if not guilty and not bad:
            bad = ["the gradient's norm"]
        also = f"; {' and '.join(bad)} not finite" if bad else ""
        # Only the clips of those parts whose loss it is, if it is a loss.
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
    """Counts the steps that were skipped and says when it is enough.

    Args:
        max_skipped: Steps in a row that may be skipped; 0 ends the training at the first.
        ranks: Whose steps they are; all of them count alike.
    """

    num_skipped: int
    """In the whole training."""

    def __init__(self, max_skipped: int, ranks: Ranks = ONE_RANK) -> None:
        self._ranks = ranks
        self.num_skipped = 0
        self._num_in_a_row = 0
        self._max_skipped = max_skipped

    def state(self) -> dict[str, int]:
        """Return the counts as plain JSON values."""
        return {"num_skipped": self.num_skipped, "num_in_a_row": self._num_in_a_row}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state()`` returned; from zero where it is of before there was one."""
        self.num_skipped = state.get("num_skipped", 0)
        self._num_in_a_row = state.get("num_in_a_row", 0)

    def count(self, record: StepRecord, is_good: bool) -> None:
        """Count a step, in their order.

        Raises:
            NonFiniteError: It is one too many.
        """
        if is_good:
            self._num_in_a_row = 0
            return
        self.num_skipped += 1
        mine = (record.is_overflow, record.is_guilty, record.describe())
        told = self._ranks.gather(mine)
        if all(is_overflow for is_overflow, _, _ in told):
            # How float16 finds its scale: it says nothing about the training.
            logger.info("step %d overflows float16: skipped, the scale is halved", record.step)
            return
        self._num_in_a_row += 1
        # Of the first rank where it began, if it is known where.
        text = next((text for _, is_guilty, text in told if is_guilty), told[0][2])
        if self._num_in_a_row > self._max_skipped:
            in_a_row = (
                f"{self._num_in_a_row} steps in a row, the last: " if self._max_skipped else ""
            )
            raise NonFiniteError(
                f"{in_a_row}{text}; {LESS_LEARNING}",
                step=record.step,
                may_roll_back=self._max_skipped > 0,
            )
        logger.warning(
            "%s: skipped, %d in a row of %d allowed", text, self._num_in_a_row, self._max_skipped
        )


def roll_back_once(run: Callable[[int | None], None], has_checkpoint: Callable[[], bool]) -> None:
    """Call ``run``, and once more where it met too many steps that are not finite.

    The second call goes on from the last checkpoint: what a machine got wrong once is got right
    then; what is wrong with the training itself comes again, and ends it.

    Args:
        run: Goes on from the newest checkpoint, whatever the learner went through since. It is told
            None, and the second time at which step the first one ended.
        has_checkpoint: Whether there is one.

    Raises:
        NonFiniteError: There is none, or it was in vain.
    """
    try:
        run(None)
        return
    except NonFiniteError as error:
        if not error.may_roll_back or not has_checkpoint():
            raise
        logger.warning("%s: going back to the last checkpoint, once", error)
        step = error.step
    run(step)


def _enumerate(names: Sequence[str]) -> str:
    rest = len(names) - _NUM_NAMED
    return " ".join([", ".join(names[:_NUM_NAMED]), *([f"and {rest} more"] if rest > 0 else [])])


def _mean_terms(each: Sequence[Mapping[str, Tensor]]) -> str:
    means = {name: sum(terms[name].item() for terms in each) / len(each) for name in each[0]}
    return ", ".join(f"{name} {value:g}" for name, value in means.items())
