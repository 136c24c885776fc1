"""Report on loaded weights, for the log and for error messages."""

from collections.abc import Sequence
from dataclasses import dataclass

_NUM_SHOWN = 5


@dataclass(frozen=True)
class Changed:
    """Tensor whose shapes in the file and in the network differ."""

    name: str
    """Name in the network."""
    shape: tuple[int, ...]
    """Shape in the file."""
    wanted: tuple[int, ...]
    """Shape in the network."""
    how: str = ""
    """Adaptation of the tensor; "" if it was not adapted."""

    def __str__(self) -> str:
        shapes = f"{self.name} {_shape(self.shape)} -> {_shape(self.wanted)}"
        return f"{shapes} ({self.how})" if self.how else shapes


@dataclass(frozen=True)
class LoadReport:
    """Outcome of loading for every tensor of a file and of a network, by names in the network."""

    source: str
    convention: str
    """Toolkit whose names the file had."""
    loaded: tuple[str, ...]
    """Tensors loaded unchanged."""
    adapted: tuple[Changed, ...]
    missing: tuple[str, ...]
    """Tensors only in the network: left as initialised."""
    unexpected: tuple[str, ...]
    """Tensors only in the file: not read."""
    mismatched: tuple[Changed, ...]
    """Tensors in both, with a shape that cannot be adapted: left as initialised."""
    head: str
    """Outcome for the classifier."""
    has_head: bool
    """Whether a classifier of the network has the file's weights."""
    is_order_assumed: bool = False
    """Whether the classifier was loaded without known class names of the file."""
    note: str = ""
    """Further remarks on how the file was read."""

    @property
    def is_whole(self) -> bool:
        """Whether file and network have the same tensors, except for the classifier."""
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
