"""``training.json``: record of a training, that is its inputs, progress and provenance."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videokd.engine.disk import naming_failures
from videokd.utils.class_names import TRAINING_NAME
from videokd.utils.errors import InputError
from videokd.utils.io import read_json, write_json

_NUM_DIFFERENCES = 3


def read_stage(folder: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``training.json`` says, or what it says of a training that has not begun.

    Args:
        folder: The model's folder.
        inputs: Everything that its weights depend on, as plain JSON values.

    Returns:
        inputs, is_finished, seconds, calls (see ``provenance``); of one that has begun also
        class_names; of a finished one num_steps, num_parameters, and what ``save_best`` returns.

    Raises:
        InputError: The folder holds a training from other inputs.
    """
    path = folder / TRAINING_NAME
    if not path.exists():
        return {"inputs": dict(inputs), "is_finished": False, "seconds": 0.0, "calls": []}
    try:
        stage: dict[str, Any] = read_json(path)
        known = stage["inputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not of this version; delete {folder}") from error
    if known != inputs:
        raise InputError(
            f"{folder} holds a training of another config or other data "
            f"({_describe_differences(known, inputs)}); choose another OUTPUT_DIR or delete "
            "that folder"
        )
    return stage


def write_stage(folder: Path, stage: Mapping[str, Any]) -> None:
    """Write ``training.json``; what was there stays when that fails.

    Raises:
        RunError: It cannot be written, for example because the disk is full.
    """
    with naming_failures(folder / TRAINING_NAME):
        write_json(folder / TRAINING_NAME, dict(stage))


def peak_memory(calls: list[dict[str, Any]]) -> dict[str, float]:
    """Return the largest peak memory of the calls of a training, by "host" and "gpu", GiB."""
    peak: dict[str, float] = {}
    for call in calls:
        for name, value in call.get("peak_memory_gib", {}).items():
            peak[name] = max(value, peak.get(name, 0.0))
    return peak


def read_calls(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the calls of every training in a run directory, by the training's folder."""
    calls = {}
    for path in sorted(folder.rglob(TRAINING_NAME)):
        try:
            found = read_json(path)["calls"]
        except (OSError, json.JSONDecodeError, KeyError, TypeError):
            continue  # a report is made of what can be read
        calls[path.parent.relative_to(folder).as_posix()] = found
    return calls


def leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the values of nested mappings under dotted keys."""
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
