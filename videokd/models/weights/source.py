"""Lookup of weights by the WEIGHTS key: "library:name" or a path."""

import re
from pathlib import Path

from videokd.models.weights import download, files
from videokd.models.weights.download import Fetched
from videokd.utils.class_names import ONLY_HEAD, read_class_names
from videokd.utils.errors import InputError
from videokd.utils.io import read_json, sha256_json

# At least two letters before the colon: one letter would be a drive.
_NAMED = re.compile(r"([A-Za-z_]{2,}):(.*)", re.DOTALL)


def identify_weights(source: str) -> str:
    """Return a string that identifies weights, without downloading or loading them.

    For a path it contains the SHA-256 of the files and of their class names, so that a changed file
    counts as other weights. For a library's weights it is "library:name".

    Args:
        source: "library:name", or a path.

    Raises:
        InputError: The path holds no weights, the library does not know the name, or it is not
            installed.
    """
    named = _NAMED.fullmatch(source)
    if named:
        return download.identify(named[1], named[2])
    path = Path(source)
    digest = files.hash_files(path)
    # Class names outside the file also count, because rows of the classifier are matched by them.
    if files.is_hugging_face(path):
        labels = read_json(path / "config.json").get("id2label")
    else:
        labels = read_class_names(files.find_files(path)[0]).get(ONLY_HEAD)
    return f"sha256:{digest if labels is None else sha256_json([digest, labels])}"


def read_weights(source: str) -> Fetched:
    """Return the state dict that ``source`` names, on the CPU.

    Raises:
        InputError: As in ``identify_weights``; or the weights cannot be downloaded, are damaged,
            hold more than tensors and plain values, or are not finite.
    """
    fetched = _read(source)
    for name, value in fetched.state.items():
        if not value.isfinite().all():
            raise InputError(f"weights {source} are not finite in {name}; get them anew")
    return fetched


def _read(source: str) -> Fetched:
    named = _NAMED.fullmatch(source)
    if named:
        return download.fetch(named[1], named[2])
    path = Path(source)
    if files.is_hugging_face(path):
        try:
            return download.load_hugging_face(str(path), local_files_only=True)
        except (OSError, ValueError) as error:
            cause = " ".join(str(error).split())
            raise InputError(f"weights {path} cannot be read by transformers: {cause}") from error
    class_names = read_class_names(files.find_files(path)[0])
    return Fetched(files.read_files(path), class_names=class_names)
