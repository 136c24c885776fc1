"""How a joint teacher fuses its experts: the choices that are not sizes."""

from dataclasses import dataclass

from videokd.models.tuned import TUNED_PARTS
from videokd.utils.errors import InputError

TOPOLOGIES = ("pyramid", "trunk")
STANDARDISERS = ("none", "batch_norm", "running", "phi_s")
FINE_TUNES = ("none", *TUNED_PARTS)


@dataclass(frozen=True)
class FusionOptions:
    """The choices of a joint teacher (METHOD, stage 2); the defaults are the plain method.

    Raises:
        InputError: An unknown choice, or a probability outside [0, 1).
    """

    topology: str = "pyramid"
    """"pyramid": experts are tapped at every level; "trunk": at the lowest level only."""
    standardise: str = "batch_norm"
    """What each expert's features pass first: "none", a learnt "batch_norm" (as published), or
    without parameters "running" (mean and deviation) or "phi_s" (a rotation and one scale)."""
    fine_tune: str = "none"
    """"none": the experts are frozen; "last_stage", "all": that part of a copy is trained too."""
    expert_drop: float = 0.0
    """Probability in training that a clip's features of an expert are left out."""

    def __post_init__(self) -> None:
        """Refuse what is not known."""
        _check_choice("topology", self.topology, TOPOLOGIES)
        _check_choice("standardise", self.standardise, STANDARDISERS)
        _check_choice("fine_tune", self.fine_tune, FINE_TUNES)
        if not 0 <= self.expert_drop < 1:
            raise InputError(f"expert_drop must lie in [0, 1), got {self.expert_drop}")


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}, got {value!r}")
