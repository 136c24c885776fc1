"""The learning rate as a pure function of progress: nothing to save, nothing to restore.

Whoever knows the step knows the rate, whichever way the training came there.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

LR_POLICIES = ("cosine", "step", "one_cycle", "constant")

# Of one_cycle, as torch's OneCycleLR has them: the rate that it starts at is that part of the
# peak, and that it ends at, that part of the start.
_ONE_CYCLE_START = 25.0
_ONE_CYCLE_END = 1e4


@dataclass(frozen=True)
class Schedule:
    """How the learning rate moves over a training.

    With p the progress in [0, 1], w the warm-up's share of the training and peak the base rate:

        cosine      peak * (1 + cos(pi * (p - w) / (1 - w))) / 2
        step        peak * gamma ** (how many of ``milestones`` are <= p)
        constant    peak

    from w on; below it, p / w times the rate at w. And

        one_cycle   half a cosine from peak / 25 up to peak, then from there, as a cosine's second
                    half, down to peak / 250 000

    which is torch's ``OneCycleLR`` without the cycle of the momentum.

    Args:
        policy: One of ``LR_POLICIES``.
        milestones: Of "step": shares of the training in (0, 1), rising.
        gamma: Of "step": in (0, 1).

    Raises:
        ValueError: The policy is unknown, or the milestones are none, out of range or order.
    """

    policy: str = "cosine"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Check the values."""
        if self.policy not in LR_POLICIES:
            known = ", ".join(LR_POLICIES)
            raise ValueError(f"policy must be one of {known}, got {self.policy!r}")
        if (self.policy == "step") != (len(self.milestones) > 0):
            raise ValueError(
                f"milestones are for the policy step, got {self.milestones} for {self.policy}"
            )
        if not all(low < high for low, high in pairwise((0.0, *self.milestones, 1.0))):
            raise ValueError(f"milestones must be rising shares in (0, 1), got {self.milestones}")

    def lr_at(self, progress: float, *, base_lr: float, warmup: float) -> float:
        """Return the learning rate at a point of the training.

        Args:
            progress: Share of the training, in [0, 1].
            base_lr: The peak.
            warmup: Share of the training that the rate rises, in [0, 1).
        """
        if self.policy == "one_cycle":
            return base_lr * _one_cycle(progress, warmup)
        top = base_lr * self._falling(max(progress, warmup), warmup)
        return top * progress / warmup if progress < warmup else top

    def lr_of_step(
        self, step: int, *, num_steps: int, base_lr: float, warmup_steps: float
    ) -> float:
        """Return the learning rate of a step.

        It is that at the end of the step while the rate rises, and that at its start while it
        falls, so that no step has the rate zero.

        Args:
            step: 0-based.
            num_steps: Of the training.
            base_lr: The peak.
            warmup_steps: Steps that the rate rises; at most half of ``num_steps`` is used.
        """
        warmup = min(warmup_steps / num_steps, 0.5)
        progress = step / num_steps
        if progress < warmup:
            progress = min((step + 1) / num_steps, warmup)
        return self.lr_at(progress, base_lr=base_lr, warmup=warmup)

    def _falling(self, progress: float, warmup: float) -> float:
        if self.policy == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
        if self.policy == "step":
            return self.gamma ** sum(share <= progress for share in self.milestones)
        return 1.0


def _one_cycle(progress: float, warmup: float) -> float:
    start = 1 / _ONE_CYCLE_START
    if progress < warmup:
        return _half_cosine(start, 1.0, progress / warmup)
    return _half_cosine(1.0, start / _ONE_CYCLE_END, (progress - warmup) / (1 - warmup))


def _half_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))
