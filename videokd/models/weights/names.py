"""Parameter names of other toolkits -> those of the libraries' networks."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from videokd.models.weights.mmaction2 import is_mmaction2, rename_mmaction2
from videokd.models.weights.pyslowfast import is_pyslowfast, rename_pyslowfast
from videokd.models.weights.rules import substitute

# Of modules that held the whole network when it was saved; "n_averaged" is the count that torch's
# AveragedModel keeps beside it.
_PREFIXES = ("module.", "model.", "net.", "network.", "backbone.", "ema.", "ema_model.")
_COUNTS = ("n_averaged",)
# Of wrappers that can also sit inside: compiled, checkpointed and sharded modules.
_WRAPPER = r"(^|\.)(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\."


@dataclass(frozen=True)
class Renamed:
    """A state dict under the names of the library's network, as far as they were known."""

    state: dict[str, Tensor]
    convention: str
    """Whose names they were, and what was done beyond renaming; for the report."""


def rename(state: Mapping[str, Tensor], *, family: str, architecture: str) -> Renamed:
    """Return a state dict under the names that the library's network has.

    Whose names they are is told by the names alone. Names that are not known stay as they are, and
    so do those of a toolkit's networks that the family has no counterpart of.

    Args:
        state: Of a file. Tensors are copied only where their values change.
        family: Of the network that it is for.
        architecture: The same.

    Raises:
        InputError: Two tensors would have one name, or a part of a norm is missing.
    """
    state = strip_wrappers(state)
    if is_pyslowfast(state):
        renamed, note = rename_pyslowfast(state, family=family, architecture=architecture)
        whose = "PySlowFast's"
    elif is_mmaction2(state):
        renamed, note = rename_mmaction2(state, family=family, architecture=architecture)
        whose = "MMAction2's"
    else:
        return Renamed(state, "its library's")
    return Renamed(renamed, f"{whose}; {note}" if note else whose)


def strip_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of the network inside distributed, averaged and compiled modules.

    A prefix goes only where all names have it.
    """
    stripped = substitute(state, [(_WRAPPER, r"\1")])
    while prefix := next((p for p in _PREFIXES if _all_start(stripped, p)), ""):
        stripped = {
            name.removeprefix(prefix): value
            for name, value in stripped.items()
            if name not in _COUNTS
        }
    return stripped


def _all_start(state: Mapping[str, Tensor], prefix: str) -> bool:
    names = [name for name in state if name not in _COUNTS]
    return bool(names) and all(name.startswith(prefix) for name in names)
