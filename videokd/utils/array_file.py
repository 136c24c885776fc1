"""Named arrays in one memory-mapped file: whole or absent, and checked when they are opened.

A folder holds arrays-<hash>.bin, the arrays one after the other, and manifest.json, which says
where each begins. The manifest is written last, over the old one: a reader finds the old arrays or
the new ones. A process of this machine that has mapped the old file keeps it; one of another
machine, through a network disk, may lose it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_bytes, read_json, sha256_file, sha256_json, write_json

_ALIGNMENT = 64  # Bytes; every array begins at a multiple.
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class StoredArrays:
    """What a folder holds.

    Args:
        arrays: By name, one-dimensional, read-only, mapped from the file.
        about: What was saved with them.
        sha256: Of the file of the arrays, hexadecimal.
    """

    arrays: Mapping[str, NDArray[Any]]
    about: Mapping[str, Any]
    sha256: str


def save_arrays(
    folder: Path, arrays: Mapping[str, NDArray[Any]], *, kind: str, about: Mapping[str, Any]
) -> None:
    """Write arrays into a folder, in place of those it held.

    Args:
        folder: Made when missing.
        arrays: By name, one-dimensional; numbers, of any type.
        kind: What the arrays are, with the version of their layout, e.g. "records 1".
        about: Plain JSON values to keep with them.
    """
    parts = [_padded(array.tobytes()) for array in arrays.values()]
    data = b"".join(parts)
    digest = sha256(data).hexdigest()
    offsets = accumulate(map(len, parts), initial=0)
    body = {
        "kind": kind,
        "sha256": digest,
        "num_bytes": len(data),
        "arrays": {
            name: {"dtype": array.dtype.str, "offset": offset, "size": array.size}
            for (name, array), offset in zip(arrays.items(), offsets, strict=False)
        },
        "about": dict(about),
    }
    old = _find_data(folder)
    atomic_write_bytes(folder / _data_name(digest), data)
    write_json(folder / _MANIFEST, {"manifest_sha256": sha256_json(body), **body})
    if old is not None and old.name != _data_name(digest):
        old.unlink(missing_ok=True)


def open_arrays(folder: Path, *, kind: str, known_sha256: str = "") -> StoredArrays:
    """Map the arrays of a folder.

    Args:
        folder: Written by `save_arrays`.
        kind: As they were saved.
        known_sha256: Hash of the arrays that another process has opened and checked: the same are
            wanted, and their bytes are not read again. "" for whatever the folder holds.

    Raises:
        InputError: the folder holds no arrays, others, or damaged ones.
    """
    try:
        manifest = read_json(folder / _MANIFEST)
        written = manifest.pop("manifest_sha256")
        if sha256_json(manifest) != written:
            raise ValueError(f"{_MANIFEST} is not as it was written")
        if manifest["kind"] != kind:
            raise InputError(f"{folder} holds {manifest['kind']!r}, not {kind!r}; make it anew")
        digest = manifest["sha256"]
        if known_sha256 and known_sha256 != digest:
            raise InputError(f"{folder} was written anew while it was in use; start again")
        data = _map_data(folder / _data_name(digest), manifest["num_bytes"])
        if not known_sha256 and sha256_file(folder / _data_name(digest)) != digest:
            raise ValueError(f"{_data_name(digest)} is not as it was written")
        arrays = {name: _cut(data, place) for name, place in manifest["arrays"].items()}
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} is not complete: no file {error.filename}; make it anew"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{folder} is damaged ({error}); delete it and make it anew") from error
    return StoredArrays(arrays, manifest["about"], digest)


def _cut(data: NDArray[np.uint8], place: Mapping[str, Any]) -> NDArray[Any]:
    dtype, offset = np.dtype(place["dtype"]), place["offset"]
    return data[offset : offset + place["size"] * dtype.itemsize].view(dtype)


def _map_data(path: Path, num_bytes: int) -> NDArray[np.uint8]:
    # An empty file cannot be mapped.
    size = path.stat().st_size
    data = np.asarray(np.memmap(path, np.uint8, mode="r")) if size else np.empty(0, np.uint8)
    if size != num_bytes:
        raise ValueError(f"{path.name} has {size} bytes instead of {num_bytes}")
    return data


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)


def _data_name(digest: str) -> str:
    return f"arrays-{digest[:16]}.bin"


def _find_data(folder: Path) -> Path | None:
    """Find the file that the manifest names, if there is a manifest."""
    try:
        return folder / _data_name(read_json(folder / _MANIFEST)["sha256"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
