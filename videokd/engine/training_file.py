"""``training.json``: inputs, progress and provenance of a training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videokd.engine.disk import naming_failures
from videokd.utils.class_names import TRAINING_NAME
from videokd.utils.errors import InputError
from videokd.utils.io import read_json, write_json

_NUM_DIFFERENCES = 3


def read_training_file(folder: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``training.json``, or that of a training that has not begun.

    Args:
        folder: Folder of the training.
        inputs: Everything that the weights depend on, as plain JSON values.

    Returns:
        inputs, is_finished, seconds and calls (see ``provenance``). A training that has begun also
        has class_names; a finished one num_steps, num_parameters and, if earlier weights
        did better in validation, best.

    Raises:
        InputError: The folder holds a training from other inputs.
    """
    path = folder / TRAINING_NAME
    if not path.exists():
        return {"inputs": dict(inputs), "is_finished": False, "seconds": 0.0, "calls": []}
    try:
        record: dict[str, Any] = read_json(path)
        known = record["inputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not of this version; delete {folder}") from error
    if known != inputs:
        raise InputError(
            f"{folder} holds a training of another config or other data "
            f"({_describe_differences(known, inputs)}); choose another OUTPUT_DIR or delete "
            "that folder"
        )
    return record


def write_training_file(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``training.json``; after a failure the old file is intact.

    Raises:
        RunError: The file cannot be written, for example because the disk is full.
    """
    with naming_failures(folder / TRAINING_NAME):
        write_json(folder / TRAINING_NAME, dict(record))


def peak_memory(calls: list[dict[str, Any]]) -> dict[str, float]:
    """Return the largest peak memory of a training's calls in GiB, by "host" and "gpu"."""
    peak: dict[str, float] = {}
    for call in calls:
        for name, value in call.get("peak_memory_gib", {}).items():
            peak[name] = max(value, peak.get(name, 0.0))
    return peak


def read_calls(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the calls of every training in a run directory, keyed by the training's folder."""
    calls = {}
    for path in sorted(folder.rglob(TRAINING_NAME)):
        try:
            found = read_json(path)["calls"]
        except (OSError, json.JSONDecodeError, KeyError, TypeError):
            continue  # the report uses the files that can be read
        calls[path.parent.relative_to(folder).as_posix()] = found
    return calls


def leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the values of nested mappings with dotted keys."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += leaves(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _describe_differences(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    old, new = dict(leaves(known)), dict(leaves(wanted))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    texts = [f"{key} was {old.get(key)!r:.24}, is {new.get(key)!r:.24}" for key in keys]
    more = f", and {len(texts) - _NUM_DIFFERENCES} more" if len(texts) > _NUM_DIFFERENCES else ""
    return "; ".join(texts[:_NUM_DIFFERENCES]) + more
