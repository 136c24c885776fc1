"""One field of many rows as arrays of numbers: what a `ColumnTable` is made of."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# File names may hold bytes that are not UTF-8; Python keeps them as lone surrogates.
_ON_SURROGATES = "surrogatepass"


class Column(Protocol):
    """The values of one field."""

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """What it is made of: the arguments of its class by name."""

    def at(self, rows: NDArray[Any]) -> list[Any]:
        """Return the values of some rows."""


class NumberColumn:
    """Numbers of one type.

    Args:
        numbers: (rows,).
    """

    def __init__(self, numbers: NDArray[Any]) -> None:
        self.numbers = numbers

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """See `Column`."""
        return {"numbers": self.numbers}

    def at(self, rows: NDArray[Any]) -> list[Any]:
        """See `Column`."""
        values: list[Any] = self.numbers[rows].tolist()
        return values


class TextColumn:
    """Strings, one after the other in UTF-8.

    Args:
        text: (bytes,) uint8.
        offsets: (rows + 1,) where each string begins and the last one ends.
    """

    def __init__(self, text: NDArray[np.uint8], offsets: NDArray[Any]) -> None:
        self._text = text
        self._offsets = offsets

    @classmethod
    def from_values(cls, values: Sequence[str]) -> "TextColumn":
        """Make a column of strings."""
        encoded = [value.encode("utf-8", _ON_SURROGATES) for value in values]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(value) for value in encoded], out=offsets[1:])
        text = np.frombuffer(b"".join(encoded), np.uint8)
        return cls(text, offsets.astype(np.min_scalar_type(int(offsets[-1]))))

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """See `Column`."""
        return {"text": self._text, "offsets": self._offsets}

    def at(self, rows: NDArray[Any]) -> list[Any]:
        """See `Column`."""
        text = self._text.data
        places = np.asarray(rows, np.int64)
        ends = self._offsets[places + 1].tolist()
        return [
            str(text[start:end], "utf-8", _ON_SURROGATES)
            for start, end in zip(self._offsets[places].tolist(), ends, strict=True)
        ]


class NameColumn:
    """Strings of which many are equal: positions in a sorted list of the different ones.

    Args:
        numbers: (rows,) those positions.
        text: The different strings, see `TextColumn`.
        offsets: Where they begin.
    """

    def __init__(
        self, numbers: NDArray[Any], text: NDArray[np.uint8], offsets: NDArray[Any]
    ) -> None:
        self.numbers = numbers
        self._names = TextColumn(text, offsets)

    @classmethod
    def from_values(cls, values: Sequence[str]) -> "NameColumn":
        """Make a column of strings."""
        names = sorted(set(values))
        places = {name: place for place, name in enumerate(names)}
        dtype = np.min_scalar_type(len(names))
        numbers = np.array([places[value] for value in values], dtype)
        return cls(numbers, **TextColumn.from_values(names).arrays)

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """See `Column`."""
        return {"numbers": self.numbers, **self._names.arrays}

    def at(self, rows: NDArray[Any]) -> list[Any]:
        """See `Column`."""
        return self._names.at(self.numbers[rows])


def make_column(how: str, values: Sequence[Any]) -> Column:
    """Make a column of values.

    Args:
        how: "text", "name" (strings of which many are equal), or a NumPy type of numbers.
        values: One for each row.
    """
    if how == "text":
        return TextColumn.from_values(values)
    if how == "name":
        return NameColumn.from_values(values)
    return NumberColumn(np.array(values, dtype=how))


def column_of(how: str, arrays: Mapping[str, NDArray[Any]]) -> Column:
    """Make a column again of the `arrays` of one that `make_column` made."""
    if how == "text":
        return TextColumn(**arrays)
    if how == "name":
        return NameColumn(**arrays)
    return NumberColumn(**arrays)
