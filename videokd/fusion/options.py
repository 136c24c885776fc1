"""Options of a joint teacher's fusion, apart from its sizes."""

from dataclasses import dataclass

from videokd.fusion.mixes import MIXES
from videokd.fusion.operator import FusionOperator
from videokd.fusion.pyramid import Pyramid
from videokd.fusion.trunk import Trunk
from videokd.models.tuned import TUNED_PARTS
from videokd.utils.errors import InputError

# Value of JOINT.TOPOLOGY -> fusion operator.
OPERATORS: dict[str, type[FusionOperator]] = {"pyramid": Pyramid, "trunk": Trunk}
STANDARDISERS = ("none", "batch_norm", "running", "phi_s")
FINE_TUNES = ("none", *TUNED_PARTS)


@dataclass(frozen=True)
class FusionOptions:
    """Options of a joint teacher (METHOD, stage 2); the defaults are the plain method.

    Raises:
        InputError: An unknown choice, or a probability outside [0, 1).
    """

    topology: str = "pyramid"
    """Name of the fusion operator, one of ``OPERATORS``."""
    mix: str = "conv1"
    """Mix of the maps of a level, one of ``mixes.MIXES``."""
    standardise: str = "batch_norm"
    """Standardisation of each expert's features before the fusion.

    "none" or "batch_norm" (learnt, as published), or without parameters "running" (mean and
    deviation) or "phi_s" (a rotation and one scale).
    """
    fine_tune: str = "none"
    """"none": the experts are frozen; "last_stage" or "all": that part of a copy is trained."""
    expert_drop: float = 0.0
    """Probability in training of dropping a clip's features of an expert."""

    def __post_init__(self) -> None:
        """Check the values."""
        _check_choice("topology", self.topology, tuple(OPERATORS))
        _check_choice("mix", self.mix, tuple(MIXES))
        _check_choice("standardise", self.standardise, STANDARDISERS)
        _check_choice("fine_tune", self.fine_tune, FINE_TUNES)
        if not 0 <= self.expert_drop < 1:
            raise InputError(f"expert_drop must lie in [0, 1), got {self.expert_drop}")


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}, got {value!r}")
