"""Named arrays in one memory-mapped file, written atomically and checked on opening.

A folder holds arrays-<hash>.bin with the concatenated arrays and manifest.json with their offsets.
The manifest is replaced last, so that a reader finds either the old or the new arrays. A process on
this machine that has mapped the old file keeps it; a process on another machine that maps it over a
network disk may lose it.
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

_ALIGNMENT = 64  # Bytes; every array begins at a multiple of it.
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class StoredArrays:
    """Content of a folder.

    Args:
        arrays: Name -> one-dimensional, read-only array, mapped from the file.
        about: JSON values saved with the arrays.
        sha256: SHA-256 of the array file, hexadecimal.
    """

    arrays: Mapping[str, NDArray[Any]]
    about: Mapping[str, Any]
    sha256: str


def save_arrays(
    folder: Path, arrays: Mapping[str, NDArray[Any]], *, kind: str, about: Mapping[str, Any]
) -> None:
    """Write arrays into a folder, replacing its previous arrays.

    Args:
        folder: Target folder; created if missing.
        arrays: Name -> one-dimensional array of any numeric type.
        kind: Content type with the version of its layout, e.g. "records 1".
        about: Plain JSON values to save with the arrays.
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
    """Return the memory-mapped arrays of a folder.

    Args:
        folder: Folder written by `save_arrays`.
        kind: Expected content type, as given to `save_arrays`.
        known_sha256: Expected hash of arrays that another process has already checked; their bytes
            are then not read again. "" accepts any arrays and checks their hash.

    Raises:
        InputError: The folder holds no arrays, arrays of another kind or hash, or damaged arrays.
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
    """Return the array file that the manifest names; None without a readable manifest."""
    try:
        return folder / _data_name(read_json(folder / _MANIFEST)["sha256"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
