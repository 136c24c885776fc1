"""Rows of a dataclass stored by column and memory-mapped from disk.

A list of 650,000 small objects takes seconds to read and half a gigabyte, and as much again in
every
process that touches it. Columns are mapped at once and shared by all processes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from videokd.data.lists.array_file import open_arrays, save_arrays
from videokd.data.lists.columns import Column, NameColumn, NumberColumn, column_of, make_column

Row = TypeVar("Row")
_Table = TypeVar("_Table", bound="ColumnTable[Any]")

# Number of rows converted into objects at a time.
_CHUNK = 8192


class _Home(NamedTuple):
    """Folder of a saved table, and the hash of its content."""

    folder: Path
    sha256: str


class ColumnTable(Sequence[Row], Generic[Row]):
    """Immutable sequence of rows, which are built on access.

    A table opened from a folder is pickled as its path, plus row numbers for a subset, so that all
    processes map one file. Any other table is pickled with all its values.

    Build tables with `from_rows` and `open`. A subclass defines the type of the rows.
    """

    row_type: ClassVar[type[Any]]
    """Dataclass of the rows."""
    layout: ClassVar[Mapping[str, str]]
    """Field name -> kind of column, in the order of the fields; see `columns.make_column`."""
    kind: ClassVar[str]
    """Format tag of the files; its number changes whenever the meaning of the files changes."""

    def __init__(
        self,
        columns: Mapping[str, Column],
        rows: NDArray[np.uint32],
        *,
        is_whole: bool = True,
        about: Mapping[str, Any] | None = None,
        home: _Home | None = None,
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._is_whole = is_whole
        self._home = home
        self.about: Mapping[str, Any] = about or {}
        """JSON values that were saved with the table, see `save`."""

    @classmethod
    def from_rows(cls: type[_Table], rows: Iterable[Any]) -> _Table:
        """Build a table from row objects."""
        rows = list(rows)
        columns = {
            name: make_column(how, list(map(attrgetter(name), rows)))
            for name, how in cls.layout.items()
        }
        return cls(columns, _all_rows(len(rows)))

    @classmethod
    def open(cls: type[_Table], folder: Path) -> _Table:
        """Memory-map the table that `save` wrote into a folder.

        Raises:
            InputError: the folder holds no table, one of another kind, or a damaged one.
        """
        return _open(cls, folder.absolute())

    def save(self, folder: Path, *, about: Mapping[str, Any] | None = None) -> None:
        """Write the table into a folder, replacing the table in it.

        Args:
            folder: Output folder, created if missing.
            about: Plain JSON values to keep with the table.
        """
        table = self if self._is_whole else type(self).from_rows(self)
        arrays = {
            f"{name}.{part}": array
            for name, column in table._columns.items()
            for part, array in column.arrays.items()
        }
        notes = {"num_rows": len(self), "about": dict(about or {})}
        save_arrays(folder, arrays, kind=self.kind, about=notes)

    def take(self: _Table, places: NDArray[Any] | Sequence[int]) -> _Table:
        """Return the rows at the given positions, in that order."""
        rows = self._rows[np.asarray(places, np.int64)]
        return type(self)(self._columns, rows, is_whole=False, about=self.about, home=self._home)

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a field of all rows as an array.

        A field of names returns ranks: equal names have equal ranks, and ranks follow the order of
        the names.
        """
        column = self._columns[name]
        assert isinstance(column, NumberColumn | NameColumn), f"{name} is kept as text"
        values: NDArray[Any] = column.numbers[self._rows]
        return values

    def select(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Yield tuples of the named fields, one per row."""
        for start in range(0, len(self), _CHUNK):
            rows = self._rows[start : start + _CHUNK]
            yield from zip(*(self._columns[name].at(rows) for name in names), strict=True)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self: _Table, place: slice) -> _Table: ...

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        rows = self._rows[[place]]
        return self.row_type(*(column.at(rows)[0] for column in self._columns.values()))

    def __iter__(self) -> Iterator[Row]:
        return (self.row_type(*values) for values in self.select(*self.layout))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ColumnTable) or other.row_type is not self.row_type:
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __reduce__(self) -> tuple[Any, ...]:
        rows = None if self._is_whole else self._rows
        if self._home is not None:
            return _open, (type(self), *self._home, rows)
        return _rebuild, (type(self), self._columns, self._rows, self._is_whole)


def _open(
    table_type: type[_Table],
    folder: Path,
    known_sha256: str = "",
    rows: NDArray[np.uint32] | None = None,
) -> _Table:
    stored = open_arrays(folder, kind=table_type.kind, known_sha256=known_sha256)
    parts: dict[str, dict[str, NDArray[Any]]] = defaultdict(dict)
    for name, array in stored.arrays.items():
        field, _, part = name.partition(".")
        parts[field][part] = array
    columns = {name: column_of(how, parts[name]) for name, how in table_type.layout.items()}
    return table_type(
        columns,
        _all_rows(stored.about["num_rows"]) if rows is None else rows,
        is_whole=rows is None,
        about=stored.about["about"],
        home=_Home(folder, stored.sha256),
    )


def _rebuild(
    table_type: type[_Table],
    columns: Mapping[str, Column],
    rows: NDArray[np.uint32],
    is_whole: bool,
) -> _Table:
    return table_type(columns, rows, is_whole=is_whole)


def _all_rows(num_rows: int) -> NDArray[np.uint32]:
    return np.arange(num_rows, dtype=np.uint32)
