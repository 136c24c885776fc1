"""Class names stored with weights, and reordering of classifier rows by class name."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from videokd.utils.errors import InputError
from videokd.utils.io import read_json

ClassNames = Mapping[str, Sequence[str]]
"""Prefix of a classifier's tensors, such as "heads.UCF", -> the names of its rows."""

LABELS_NAME = "labels.txt"
TRAINING_NAME = "training.json"
ONLY_HEAD = ""
"""Prefix for the single classifier of a file with a library's tensor names."""

_KEY = "class_names"
_NUM_SHOWN = 3


def class_names_to_metadata(class_names: ClassNames) -> dict[str, str]:
    """Return class names as metadata of a safetensors file."""
    return {_KEY: json.dumps({prefix: list(names) for prefix, names in class_names.items()})}


def read_class_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the class names that belong to a weights file.

    Sources are the metadata of a safetensors file; for a checkpoint, ``training.json`` of its
    training; for an exported student or other weights, ``labels.txt`` in the same folder with one
    name per line, returned for ``ONLY_HEAD``.

    Returns:
        Prefix -> names; empty if no source exists.

    Raises:
        InputError: ``labels.txt`` or ``training.json`` cannot be read.
    """
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
        except (OSError, SafetensorError):
            return {}  # reading the tensors reports it
        if _KEY in metadata:
            return _freeze(json.loads(metadata[_KEY]))
    try:
        if path.parent.parent.name == "checkpoints":
            record = path.parents[2] / TRAINING_NAME
            return _freeze(read_json(record).get(_KEY, {})) if record.exists() else {}
        labels = path.parent / LABELS_NAME
        if labels.is_file():
            lines = labels.read_text(encoding="utf-8-sig").rstrip().splitlines()
            return {ONLY_HEAD: tuple(lines)}
    except (OSError, ValueError) as error:
        raise InputError(f"the class names of weights {path} cannot be read: {error}") from error
    return {}


def match_rows(found: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Return the position in ``found`` of each wanted class; None if the sets of names differ.

    Case, spaces, underscores and hyphens are ignored, unless two names differ only in these.
    """
    for spell in (str, _plain):
        places = {spell(name): place for place, name in enumerate(found)}
        keys = [spell(name) for name in wanted]
        if len(places) == len(found) == len(keys) and places.keys() == set(keys):
            return [places[key] for key in keys]
    return None


def describe_difference(found: Sequence[str], wanted: Sequence[str], *, dataset: str) -> str:
    """Return a phrase about the classes that only the weights or only the dataset have."""
    if len(found) != len(wanted):
        return f"the file has {len(found)} classes, {dataset} has {len(wanted)}"
    ours, theirs = {_plain(name) for name in wanted}, {_plain(name) for name in found}
    extra = [name for name in found if _plain(name) not in ours]
    lacking = [name for name in wanted if _plain(name) not in theirs]
    return (
        f"{len(extra)} of the file's {len(found)} classes ({_list(extra)}) not in {dataset}, which "
        f"has {_list(lacking)} instead"
    )


def order_rows(
    state: Mapping[str, Tensor], found: ClassNames, wanted: ClassNames, *, origin: Path
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return a state dict with the rows of its classifiers in the wanted order of classes.

    Classifiers that are not in ``found`` do not change.

    Args:
        state: State dict of a model.
        found: Class names of the state dict.
        wanted: Class names of the model.
        origin: Weights file, for the error message.

    Returns:
        The state dict, and the prefixes of the classifiers whose rows changed order.

    Raises:
        InputError: The classes of a classifier differ.
    """
    ordered, moved = dict(state), []
    for prefix, names in wanted.items():
        if prefix not in found:
            continue
        rows = match_rows(found[prefix], names)
        if rows is None:
            raise InputError(
                f"weights {origin} ({prefix}) were trained on other classes than the dataset's: "
                f"{describe_difference(found[prefix], names, dataset='the dataset')}\n"
                "use weights that were trained on these classes, or set ROOT and ANNOTATIONS to "
                "the dataset that the weights were trained on"
            )
        if rows != sorted(rows):
            moved.append(prefix)
            for key in (f"{prefix}.weight", f"{prefix}.bias"):
                if key in state:  # the caller reports missing tensors
                    ordered[key] = state[key][rows]
    return ordered, tuple(moved)


def _freeze(names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {prefix: tuple(labels) for prefix, labels in names.items()}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NUM_SHOWN])
    return f"{shown}, ..." if len(names) > _NUM_SHOWN else shown or "the same names twice"
