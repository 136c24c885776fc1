"""Checkpoints: directories that are whole and verified, or not there.

    checkpoints/step-N/  model.safetensors  [average.safetensors]  optimizer.pt  state.json
                         manifest.json

A checkpoint is written under another name and renamed when its last file, the manifest with every
file's SHA-256, is on disk. Loading checks the hashes and falls back to the newest whole one.
"""

import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from videokd.utils.errors import InputError
from videokd.utils.io import read_json, sha256_file, write_json

logger = logging.getLogger(__name__)

# A second one is there for the day that the newest cannot be read.
_NUM_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What a stopped training needs to go on exactly."""

    model: dict[str, Tensor]
    """State dict of the task (frozen teachers are not in it)."""
    optimizer: dict[str, Any]
    """State dict of the optimizer."""
    state: dict[str, Any]
    """Plain JSON values; ``step`` is the number of steps done."""
    average: dict[str, Tensor] | None = None
    """State dict of the running average of the weights; None for a training without one."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write ``folder/step-N``; keep it and the newest whole one before it, delete the others."""
    target = folder / f"step-{checkpoint.state['step']}"
    if target.exists():
        if _find_damage(target) is None:
            return target
        shutil.rmtree(target)
    unfinished = folder / f"{target.name}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save_weights(unfinished / "model.safetensors", checkpoint.model)
    if checkpoint.average is not None:
        save_weights(unfinished / "average.safetensors", checkpoint.average)
    torch.save(checkpoint.optimizer, unfinished / "optimizer.pt")
    _sync(unfinished / "optimizer.pt")
    write_json(unfinished / "state.json", checkpoint.state)
    files = sorted(path.name for path in unfinished.iterdir())
    write_json(unfinished / "manifest.json", {n: sha256_file(unfinished / n) for n in files})
    _sync(unfinished)
    unfinished.rename(target)
    _sync(folder)
    _delete_old(folder, target)
    return target


def load_newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint of ``folder``, or None when there is none.

    A damaged checkpoint is passed over with a warning that names the file.
    """
    for path in _list_newest_first(folder):
        damage = _find_damage(path)
        if damage is None:
            average = path / "average.safetensors"
            return Checkpoint(
                load_file(path / "model.safetensors"),
                torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True),
                read_json(path / "state.json"),
                load_file(average) if average.exists() else None,
            )
        logger.warning("checkpoint %s is damaged (%s); trying an older one", path, damage)
    return None


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors, on the CPU and contiguous; the file is whole or absent."""
    # Training keeps some weights in channels_last_3d; safetensors stores plain layouts only.
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    unfinished = path.with_name(f"{path.name}.tmp")
    save_file(plain, unfinished)
    _sync(unfinished)
    unfinished.replace(path)


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Load a safetensors state dict into ``module``, strictly.

    The file holds the module's own weights, or those of a task (a training's checkpoint), whose
    model they are then taken from.

    Raises:
        InputError: No such file, not safetensors, or weights of another architecture.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"weights {path} cannot be read: {error}") from error
    if all(name.startswith(("model.", "objective.")) for name in state):
        state = {n.removeprefix("model."): v for n, v in state.items() if n.startswith("model.")}
    expected = module.state_dict()
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    reshaped = [n for n in expected.keys() & state.keys() if expected[n].shape != state[n].shape]
    if missing or unexpected or reshaped:
        example = (missing or unexpected or sorted(reshaped))[0]
        raise InputError(
            f"weights {path} are of another architecture: {len(missing)} tensors missing, "
            f"{len(unexpected)} unexpected, {len(reshaped)} of another shape (first: {example}); "
            "use the config that trained them"
        )
    module.load_state_dict(state)


def _list_newest_first(folder: Path) -> list[Path]:
    steps = {
        int(match.group(1)): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"step-(\d+)", path.name))
    }
    return [path for _, path in sorted(steps.items(), reverse=True)]


def _delete_old(folder: Path, newest: Path) -> None:
    num_kept = 0
    for path in _list_newest_first(folder):
        is_kept = num_kept < _NUM_KEPT and (path == newest or _find_damage(path) is None)
        num_kept += is_kept
        if not is_kept:
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    # A rename can reach the disk before what was written: after a power cut the name would be
    # there and the content not.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _find_damage(path: Path) -> str | None:
    try:
        manifest = read_json(path / "manifest.json")
        for name, expected in manifest.items():
            if sha256_file(path / name) != expected:
                return f"{name} does not match its SHA-256"
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    return None
