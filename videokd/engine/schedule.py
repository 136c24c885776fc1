"""Learning rate as a pure function of progress.

The rate follows from the step alone, so there is no state to save or restore.
"""

from dataclasses import dataclass
from itertools import pairwise

from fvcore.common.param_scheduler import CosineParamScheduler

LR_POLICIES = ("cosine", "step", "one_cycle", "constant")

# Constants of torch's OneCycleLR: the initial rate is the peak divided by the first, and the final
# rate is the initial rate divided by the second.
_ONE_CYCLE_START = 25.0
_ONE_CYCLE_END = 1e4


@dataclass(frozen=True)
class Schedule:
    """Learning rate policy over a training.

    With p the progress in [0, 1], w the warm-up's share of the training and peak the base rate:

        cosine      peak * (1 + cos(pi * (p - w) / (1 - w))) / 2
        step        peak * gamma ** (number of ``milestones`` <= p)
        constant    peak

    from w on; below w, p / w times the rate at w. And

        one_cycle   half a cosine from peak / 25 up to peak, then from there, as a cosine's second
                    half, down to peak / 250 000

    which is torch's ``OneCycleLR`` without its momentum cycle.

    Args:
        policy: One of ``LR_POLICIES``.
        milestones: Shares of the training in (0, 1), rising; for "step" only.
        gamma: Factor of "step" at each milestone, in (0, 1).

    Raises:
        ValueError: The policy is unknown, or the milestones are missing, out of range or not
            rising.
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
            progress: Share of the training that is done, in [0, 1].
            base_lr: Peak learning rate.
            warmup: Share of the training in which the rate rises, in [0, 1).
        """
        if self.policy == "one_cycle":
            return base_lr * _one_cycle(progress, warmup)
        top = base_lr * self._falling(max(progress, warmup), warmup)
        return top * progress / warmup if progress < warmup else top

    def lr_of_step(
        self, step: int, *, num_steps: int, base_lr: float, warmup_steps: float
    ) -> float:
        """Return the learning rate of a step.

        While the rate rises it is the rate at the end of the step, and while it falls the rate at
        its start, so that no step has a rate of zero.

        Args:
            step: 0-based.
            num_steps: Number of steps of the training.
            base_lr: Peak learning rate.
            warmup_steps: Number of steps in which the rate rises; at most half of ``num_steps`` is
                used.
        """
        warmup = min(warmup_steps / num_steps, 0.5)
        progress = step / num_steps
        if progress < warmup:
            progress = min((step + 1) / num_steps, warmup)
        return self.lr_at(progress, base_lr=base_lr, warmup=warmup)

    def _falling(self, progress: float, warmup: float) -> float:
        if self.policy == "cosine":
            return CosineParamScheduler(1.0, 0.0)((progress - warmup) / (1 - warmup))
        if self.policy == "step":
            return self.gamma ** sum(share <= progress for share in self.milestones)
        return 1.0


def _one_cycle(progress: float, warmup: float) -> float:
    start = 1 / _ONE_CYCLE_START
    if progress < warmup:
        return CosineParamScheduler(start, 1.0)(progress / warmup)
    falling = CosineParamScheduler(1.0, start / _ONE_CYCLE_END)
    return falling((progress - warmup) / (1 - warmup))
