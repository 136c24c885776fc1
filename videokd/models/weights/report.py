"""What was loaded into a network from where, for the log and for the error that refuses it."""

from collections.abc import Sequence
from dataclasses import dataclass

_NUM_SHOWN = 5


@dataclass(frozen=True)
class Changed:
    """One tensor whose shape in the file is not the network's."""

    name: str
    """In the network."""
    shape: tuple[int, ...]
    """In the file."""
    wanted: tuple[int, ...]
    """In the network."""
    how: str = ""
    """What was done about it; "" for nothing."""

    def __str__(self) -> str:
        shapes = f"{self.name} {_shape(self.shape)} -> {_shape(self.wanted)}"
        return f"{shapes} ({self.how})" if self.how else shapes


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a file and of a network. Names are the network's."""

    source: str
    convention: str
    """Whose names the file had."""
    loaded: tuple[str, ...]
    """As they were, bit for bit."""
    adapted: tuple[Changed, ...]
    missing: tuple[str, ...]
    """In the network and not in the file: left as initialised."""
    unexpected: tuple[str, ...]
    """In the file and not in the network: not read."""
    mismatched: tuple[Changed, ...]
    """In both, but of shapes that nothing is known to do about: left as initialised."""
    head: str
    """What became of the classifier."""
    has_head: bool
    """Whether a classifier of the network has the file's weights."""
    is_order_assumed: bool = False
    """Whether the classifier was taken without knowing the file's class names."""
    note: str = ""
    """What else there is to say, of how the file was read."""

    @property
    def is_whole(self) -> bool:
        """Whether file and network have the same tensors, the classifier aside."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        rows = [
            ("loaded", f"{len(self.loaded)} tensors, names: {self.convention}"),
            ("adapted", _list(self.adapted)),
            ("classifier", self.head),
            ("missing", _list(self.missing)),
            ("unexpected", _list(self.unexpected)),
            ("other shape", _list(self.mismatched)),
            ("note", self.note),
        ]
        lines = [f"  {title:<12}{text}" for title, text in rows if text]
        return "\n".join([f"weights {self.source}", *lines])


def _list(entries: Sequence[object]) -> str:
    if not entries:
        return ""
    more = f", and {len(entries) - _NUM_SHOWN} more" if len(entries) > _NUM_SHOWN else ""
    return f"{len(entries)}: {', '.join(map(str, entries[:_NUM_SHOWN]))}{more}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
