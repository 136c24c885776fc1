"""Renaming of other toolkits' parameters to the names of the libraries' networks."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from videokd.models.weights.mmaction2 import is_mmaction2, rename_mmaction2
from videokd.models.weights.pyslowfast import is_pyslowfast, rename_pyslowfast
from videokd.models.weights.rules import substitute

# Prefixes from wrappers around the whole network at saving; torch's AveragedModel also saves the
# counter "n_averaged".
_PREFIXES = ("module.", "model.", "net.", "network.", "backbone.", "ema.", "ema_model.")
_COUNTS = ("n_averaged",)
# Wrappers that can also be inside the network: compiled, checkpointed and sharded modules.
_WRAPPER = r"(^|\.)(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\."


@dataclass(frozen=True)
class Renamed:
    """State dict under the names of the library's network, as far as the names were known."""

    state: dict[str, Tensor]
    convention: str
    """Toolkit of the original names, and a note on changes of values; for the report."""


def rename(state: Mapping[str, Tensor], *, family: str, architecture: str) -> Renamed:
    """Return a state dict renamed to the names of the library's network.

    The names themselves identify the toolkit. Unknown names do not change, and neither do names of
    a toolkit's networks without a counterpart in the family.

    Args:
        state: State dict of a file. Tensors are copied only if their values change.
        family: Family of the target network.
        architecture: Architecture of the target network.

    Raises:
        InputError: Two tensors would get the same name, or a part of a norm is missing.
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
    """Return the state dict without the names of distributed, averaged and compiled wrappers.

    A prefix is removed only if all names have it.
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
