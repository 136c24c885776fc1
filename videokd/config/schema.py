"""Description of a config key with its checks, and access to nodes by dotted keys."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import getitem
from typing import Any

from fvcore.common.config import CfgNode

from videokd.utils.errors import InputError

# Trainings whose weights depend on a key. Trainings that use weights of another training, such as
# students of a joint teacher, change with that training.
AFFECTS = {
    "nothing": "no weights",
    "all": "every training",
    "dataset": "trainings on videos of this dataset",
    "several": "trainings on several datasets: the joint teacher, B2 and its kin, B3",
    "network": "trainings of this network",
    "joint": "the joint teacher, B7",
    "logits": "trainings with a teacher: generalists, students, B4 to B10",
    "features": "trainings with feature losses: those with a teacher, except B4 and B5",
}
_HIGHEST = 1e6
# Last parts of the keys that hold paths, which may contain ``~`` and environment variables.
PATH_KEYS = ("OUTPUT_DIR", "ROOT", "ANNOTATIONS", "INDEX_DIR", "FRAME_CACHE", "WEIGHTS")


@dataclass(frozen=True)
class Key:
    """One config key.

    Args:
        name: Dotted name. <NAME> stands for a name that the user chooses, <OPTION> for an option
            of the loss that the NAME beside it chooses.
        default: Default value; its type is the type of the key.
        allowed: Choices "a | b" (of each item of a list), an inclusive range "0 .. 1", a range
            without its low end ">0 .. 1", a range up to 1e6 "0 ..", or "" for any value.
        affects: Trainings whose weights depend on the value, a key of ``AFFECTS``.
        help: One line with the meaning, the unit and special values.
        inherits: Key whose value is used where this value is 0 or "same".
        needs: "KEY" or "KEY VALUE". This key is read only while KEY is not 0, or has VALUE.
        derived: Whether fingerprints hold something computed from the value, such as the number
            of steps or the digest of the videos, instead of the value.
    """

    name: str
    default: Any
    allowed: str
    affects: str
    help: str
    inherits: str = ""
    needs: str = ""
    derived: bool = False

    @cached_property
    def choices(self) -> tuple[Any, ...]:
        """Allowed values, of each item for a list; () without choices."""
        if " | " not in self.allowed:
            return ()
        kind = str if isinstance(self.default, list) else type(self.default)
        return tuple(kind(word) for word in self.allowed.split(" | "))

    @property
    def is_option(self) -> bool:
        """Whether the key is any option of a loss: a number or a word."""
        return self.name.endswith(".<OPTION>")

    @cached_property
    def limits(self) -> tuple[float, float] | None:
        """Lowest and highest value; None without a range."""
        low, dots, high = self.allowed.removeprefix(">").partition("..")
        return (float(low), float(high or _HIGHEST)) if dots else None

    def is_read(self, cfg: CfgNode) -> bool:
        """Return whether the value has an effect with the other values of a config."""
        if not self.needs:
            return True
        name, _, wanted = self.needs.partition(" ")
        value = get_value(cfg, name)
        return bool(value == wanted if wanted else value)

    def check(self, name: str, value: Any) -> None:
        """Check the value of the key, which is called ``name`` in messages.

        Raises:
            InputError: The value is not one of the choices, or outside the range.
        """
        for item in value if isinstance(value, list) else [value]:
            if self.choices and item not in self.choices:
                known = ", ".join(map(str, self.choices))
                raise InputError(f"{name} must be one of {known}; got {item!r}")
        if self.limits is None:
            return
        low, high = self.limits
        is_open = self.allowed.startswith(">")
        if not ((value > low if is_open else value >= low) and value <= high):
            sign = ">" if is_open else ">="
            raise InputError(f"{name} must be {sign} {low:g} and <= {high:g}, got {value!r}")


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted name and value of every key below a node."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def get_value(cfg: CfgNode, name: str) -> Any:
    """Return the value of a dotted key."""
    return reduce(getitem, name.split("."), cfg)


def set_value(cfg: CfgNode, name: str, value: Any) -> None:
    """Set the value of a dotted key; missing nodes on the way are made."""
    *nodes, last = name.split(".")
    for node in nodes:
        cfg = cfg.setdefault(node, CfgNode())
    cfg[last] = value


def is_path(name: str) -> bool:
    """Return whether a dotted key holds a path."""
    return name.rsplit(".", 1)[-1] in PATH_KEYS
