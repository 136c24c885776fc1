"""Records of a dataset, and a table of them in one memory-mapped file.

A list of 650,000 record objects takes seconds to read and half a gigabyte, and as much again in
every process that touches it. A table keeps arrays, which are mapped at once and shared by all
processes, and builds record objects on access.

A file holds the SHA-256 of all that follows it (64 hexadecimal digits), a JSON header of one line,
and the arrays. Every array begins at a multiple of 64 bytes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_bytes

# The number changes whenever the meaning of the file changes.
KIND = "records 2"
_ALIGNMENT = 64  # bytes
_NUM_DIGEST = 64  # hexadecimal digits
# Number of records that are built at a time.
_CHUNK = 8192
# Numbers of a record, and strings with many repeats, which are kept as positions in sorted names.
_NUMBERS = {"label": np.int32, "num_frames": np.int32, "fps": np.float64}
_NAMES = ("dataset", "group", "cause")


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One labelled video.

    Args:
        path: File, relative to the root of its index, with forward slashes.
        label: Class id, 0 .. num_classes - 1.
        dataset: Name of the dataset, e.g. "ucf101".
        group: Source of the video (scene, film, upload). Videos of one class and group are near
            copies of each other and must stay on one side of a split.
        num_frames: Number of frames found in the file by a scan; 0 if it was not scanned or has
            none.
        fps: Average frames per second found by a scan; 0.0 if unknown.
        cause: Reason why a scan could not read the file; "" if it could, or there was no scan.
    """

    path: str
    label: int
    dataset: str
    group: str
    num_frames: int = 0
    fps: float = 0.0
    cause: str = ""


_FIELDS = tuple(field.name for field in fields(VideoRecord))


class _File(NamedTuple):
    path: Path
    sha256: str


class RecordTable(Sequence[VideoRecord]):
    """Immutable sequence of records, stored by field. Build it with `from_records` or `open`.

    A table opened from a file is pickled as its path, plus row numbers for a subset, so that all
    processes map one file. Any other table is pickled with all its values.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        rows: NDArray[np.uint32] | None = None,
        *,
        about: Mapping[str, Any] | None = None,
        file: _File | None = None,
    ) -> None:
        self._arrays = arrays
        self._is_whole = rows is None
        self._rows = np.arange(len(arrays["label"]), dtype=np.uint32) if rows is None else rows
        self._file = file
        self.about: Mapping[str, Any] = about or {}
        """JSON values that were saved with the table, see `save`."""

    @classmethod
    def from_records(cls, records: Iterable[VideoRecord]) -> "RecordTable":
        """Build a table of records."""
        records = list(records)
        values = {name: list(map(attrgetter(name), records)) for name in _FIELDS}
        names = sorted({value for field in _NAMES for value in values[field]})
        positions = {name: n for n, name in enumerate(names)}
        arrays = {field: np.array(values[field], dtype) for field, dtype in _NUMBERS.items()}
        for field in _NAMES:
            numbers = [positions[value] for value in values[field]]
            arrays[field] = np.array(numbers, np.min_scalar_type(len(names)))
        for field, strings in (("path", values["path"]), ("names", names)):
            arrays[f"{field}.text"], arrays[f"{field}.ends"] = _join(strings)
        return cls(arrays)

    @classmethod
    def open(cls, path: Path) -> "RecordTable":
        """Memory-map the table in a file that `save` wrote.

        Raises:
            InputError: the file is missing, damaged, or of another kind.
        """
        return _open(_File(path.absolute(), ""), None)

    def save(self, path: Path, *, about: Mapping[str, Any] | None = None) -> None:
        """Write the table to a file. Processes that have mapped an older file keep that one.

        Args:
            path: The file; its folder is created if missing.
            about: Plain JSON values to keep with the table.
        """
        table = self if self._is_whole else RecordTable.from_records(self)
        places, parts, offset = {}, [], 0
        for name, array in table._arrays.items():
            data = array.tobytes()
            places[name] = {"dtype": array.dtype.str, "offset": offset, "size": array.size}
            parts.append(data + bytes(-len(data) % _ALIGNMENT))
            offset += len(parts[-1])
        header = {"kind": KIND, "num_bytes": offset, "arrays": places, "about": dict(about or {})}
        line = json.dumps(header).encode() + b"\n"
        gap = b" " * (-(_NUM_DIGEST + len(line)) % _ALIGNMENT)
        rest = b"".join([gap, line, *parts])
        atomic_write_bytes(path, sha256(rest).hexdigest().encode() + rest)

    def take(self, positions: NDArray[Any] | Sequence[int]) -> "RecordTable":
        """Return the records at the given positions, in that order."""
        rows = self._rows[np.asarray(positions, np.int64)]
        return RecordTable(self._arrays, rows, about=self.about, file=self._file)

    def numbers(self, field: str) -> NDArray[Any]:
        """Return a field of all records as an array.

        For a field with strings, equal strings have equal numbers, in the order of the strings.
        """
        values: NDArray[Any] = self._arrays[field][self._rows]
        return values

    def select(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Yield tuples of the named fields, one per record."""
        for start in range(0, len(self), _CHUNK):
            rows = self._rows[start : start + _CHUNK]
            yield from zip(*(self._values(name, rows) for name in names), strict=True)

    def _values(self, field: str, rows: NDArray[np.uint32]) -> list[Any]:
        if field == "path":
            return _cut(self._arrays["path.text"], self._arrays["path.ends"], rows)
        numbers = self._arrays[field][rows]
        if field in _NAMES:
            return _cut(self._arrays["names.text"], self._arrays["names.ends"], numbers)
        values: list[Any] = numbers.tolist()
        return values

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, position: int) -> VideoRecord: ...

    @overload
    def __getitem__(self, position: slice) -> "RecordTable": ...

    def __getitem__(self, position: int | slice) -> "VideoRecord | RecordTable":
        if isinstance(position, slice):
            return self.take(np.arange(len(self))[position])
        rows = self._rows[[position]]
        return VideoRecord(*(self._values(name, rows)[0] for name in _FIELDS))

    def __iter__(self) -> Iterator[VideoRecord]:
        return (VideoRecord(*values) for values in self.select(*_FIELDS))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordTable):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __reduce__(self) -> tuple[Any, ...]:
        rows = None if self._is_whole else self._rows
        if self._file is not None:
            return _open, (self._file, rows)
        return RecordTable, (self._arrays, rows)


def _join(strings: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return UTF-8 text, and the start of each string followed by the end of the last one."""
    # File names may hold bytes that are not UTF-8; Python represents them as lone surrogates.
    encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
    ends = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=ends[1:])
    text = np.frombuffer(b"".join(encoded), np.uint8)
    return text, ends.astype(np.min_scalar_type(int(ends[-1])))


def _cut(text: NDArray[np.uint8], ends: NDArray[Any], numbers: NDArray[Any]) -> list[str]:
    """Return the strings with the given numbers."""
    data, numbers = text.data, np.asarray(numbers, np.int64)
    pairs = zip(ends[numbers].tolist(), ends[numbers + 1].tolist(), strict=True)
    return [str(data[start:end], "utf-8", "surrogatepass") for start, end in pairs]


def _open(file: _File, rows: NDArray[np.uint32] | None) -> RecordTable:
    """Map a file. A known digest means that another process has checked the content already."""
    try:
        with file.path.open("rb") as stream:
            digest = stream.read(_NUM_DIGEST).decode("ascii")
            line = stream.readline()
            data = np.asarray(np.memmap(stream, np.uint8, mode="r"))
        if not file.sha256 and sha256(data[_NUM_DIGEST:].data).hexdigest() != digest:
            raise ValueError("its content is not as it was written")
        header = json.loads(line)
        if header["kind"] != KIND:
            raise InputError(f"{file.path} holds {header['kind']!r}, not {KIND!r}; make it anew")
        if file.sha256 and file.sha256 != digest:
            raise InputError(f"{file.path} was written anew while it was in use; start again")
        data = data[_NUM_DIGEST + len(line) :]
        if len(data) != header["num_bytes"]:
            raise ValueError(f"{len(data)} bytes of arrays instead of {header['num_bytes']}")
        arrays = {name: _view(data, place) for name, place in header["arrays"].items()}
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{file.path} does not exist; make it anew") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file.path} is damaged ({error}); delete it and make it anew") from error
    file = _File(file.path, digest)
    return RecordTable(arrays, rows, about=header["about"], file=file)


def _view(data: NDArray[np.uint8], place: Mapping[str, Any]) -> NDArray[Any]:
    dtype, offset = np.dtype(place["dtype"]), place["offset"]
    return data[offset : offset + place["size"] * dtype.itemsize].view(dtype)
