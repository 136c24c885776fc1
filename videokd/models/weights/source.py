"""What the user writes for weights -> the weights: a library's name for them, or a path."""

import re
from pathlib import Path

from videokd.models.weights import download, files
from videokd.models.weights.download import Fetched
from videokd.utils.class_names import ONLY_HEAD, read_class_names
from videokd.utils.errors import InputError
from videokd.utils.io import read_json, sha256_json

# One letter and a colon would be a drive.
_NAMED = re.compile(r"([A-Za-z_]{2,}):(.*)", re.DOTALL)


def identify_weights(source: str) -> str:
    """Return what tells weights from others; fetches nothing and loads nothing.

    For a path, the SHA-256 of what lies there: another file under the same name is other weights.
    For a library's name, the name.

    Args:
        source: "library:name", or a path.

    Raises:
        InputError: There is nothing, the library does not know the name, or is not installed.
    """
    named = _NAMED.fullmatch(source)
    if named:
        return download.identify(named[1], named[2])
    path = Path(source)
    digest = files.hash_files(path)
    # Class names outside the file decide where the rows of its classifier go.
    if files.is_hugging_face(path):
        labels = read_json(path / "config.json").get("id2label")
    else:
        labels = read_class_names(files.find_files(path)[0]).get(ONLY_HEAD)
    return f"sha256:{digest if labels is None else sha256_json([digest, labels])}"


def read_weights(source: str) -> Fetched:
    """Return the state dict that ``source`` names, on the CPU.

    Raises:
        InputError: As of ``identify_weights``; or the weights cannot be downloaded, are damaged,
            hold anything but tensors and plain values, or are not finite.
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
