"""Columns of a `ColumnTable`: one field of many rows, stored as arrays of numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# File names may hold bytes that are not UTF-8; Python represents them as lone surrogates.
_ON_SURROGATES = "surrogatepass"


class Column(Protocol):
    """Values of one field."""

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Arrays of the column by argument name of its class."""

    def at(self, rows: NDArray[Any]) -> list[Any]:
        """Return the values of the given rows."""


class NumberColumn:
    """Column of numbers of one type.

    Args:
        numbers: (rows,) values.
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
    """Column of strings, concatenated in UTF-8.

    Args:
        text: (bytes,) uint8.
        offsets: (rows + 1,) start of each string, and the end of the last one.
    """

    def __init__(self, text: NDArray[np.uint8], offsets: NDArray[Any]) -> None:
        self._text = text
        self._offsets = offsets

    @classmethod
    def from_values(cls, values: Sequence[str]) -> "TextColumn":
        """Build a column of strings."""
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
    """Column of strings with many repeats, stored as positions in a sorted list of the names.

    Args:
        numbers: (rows,) positions in the list.
        text: Distinct strings, see `TextColumn`.
        offsets: Start of each distinct string, see `TextColumn`.
    """

    def __init__(
        self, numbers: NDArray[Any], text: NDArray[np.uint8], offsets: NDArray[Any]
    ) -> None:
        self.numbers = numbers
        self._names = TextColumn(text, offsets)

    @classmethod
    def from_values(cls, values: Sequence[str]) -> "NameColumn":
        """Build a column of strings."""
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
    """Build a column of values.

    Args:
        how: Kind of column: "text", "name" (strings with many repeats), or a NumPy dtype.
        values: One value per row.
    """
    if how == "text":
        return TextColumn.from_values(values)
    if how == "name":
        return NameColumn.from_values(values)
    return NumberColumn(np.array(values, dtype=how))


def column_of(how: str, arrays: Mapping[str, NDArray[Any]]) -> Column:
    """Rebuild a column from the `arrays` of a column made by `make_column`."""
    if how == "text":
        return TextColumn(**arrays)
    if how == "name":
        return NameColumn(**arrays)
    return NumberColumn(**arrays)
