"""Checkpoint directories that are either complete and verified, or absent.

    checkpoints/step-N/  model.safetensors  [average.safetensors]  optimizer.pt  state.json
                         manifest.json

A checkpoint is written under a temporary name. It is renamed when its last file, the manifest with
every file's SHA-256, is on disk. Loading verifies the hashes and falls back to the newest intact
checkpoint. The newest is found by the step in its name, the best by ``metrics.jsonl``.
"""

import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.serialization import get_crc32_options, set_crc32_options

from videokd.engine.disk import naming_failures
from videokd.utils.class_names import (
    ClassNames,
    class_names_to_metadata,
    order_rows,
    read_class_names,
)
from videokd.utils.errors import InputError
from videokd.utils.io import atomic_write_text, read_json, sha256_file, sync, write_json

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_REQUIRED = frozenset(("model.safetensors", "optimizer.pt", "state.json"))


@dataclass(frozen=True)
class Checkpoint:
    """State from which a stopped training resumes exactly."""

    model: dict[str, Tensor]
    """State dict of the task; frozen teachers are not in it."""
    optimizer: dict[str, Any]
    """State dict of the optimizer."""
    state: dict[str, Any]
    """Plain JSON values; ``step`` is the number of steps done."""
    average: dict[str, Tensor] | None = None
    """State dict of the running average of the weights; None for a training without one."""


class CheckpointFolder:
    """Folder of checkpoints: the newest ones, and the best by validation.

    Args:
        path: The folder; created with the first checkpoint.
        num_kept: Number of newest checkpoints to keep. A second one serves if the newest cannot be
            read.
        log: Log file of the training, if any. It is flushed to disk before the checkpoint is
            renamed, so that no log line up to the checkpoint is lost in a power cut.
    """

    def __init__(self, path: Path, *, num_kept: int = 2, log: Path | None = None) -> None:
        self.path = path
        self._num_kept = num_kept
        self._log = log
        # Verifying all kept checkpoints at every save would cost more than writing one.
        self._known_whole: set[Path] = set()

    def save(self, checkpoint: Checkpoint, *, best_step: int | None = None) -> Path:
        """Write ``step-N``, then delete all but the newest intact checkpoints and the best one.

        Args:
            checkpoint: Checkpoint to write; it must not change meanwhile.
            best_step: Step of the best evaluation so far. Its checkpoint is kept, if it exists.

        Raises:
            RunError: It cannot be written; the earlier checkpoints are unchanged.
        """
        target = self.path / f"step-{checkpoint.state['step']}"
        unfinished = self.path / f"{target.name}.tmp"
        with naming_failures(target):
            if target.exists() and find_damage(target) is None:
                return target
            try:
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir(parents=True)
                _write(unfinished, checkpoint)
                if self._log is not None and self._log.exists():
                    sync(self._log)
                if target.exists():  # damaged
                    shutil.rmtree(target)
                unfinished.rename(target)
            except BaseException:
                # On a full disk, the incomplete checkpoint would take space that other files need.
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            sync(self.path)
        self._known_whole.add(target)
        self._delete_old(target, best_step)
        return target

    def _delete_old(self, newest: Path, best_step: int | None) -> None:
        num_kept = 0
        for path in _list_newest_first(self.path):
            is_wanted = num_kept < self._num_kept or path.name == f"step-{best_step}"
            is_kept = is_wanted and (path == newest or self._is_whole(path))
            num_kept += is_kept
            if not is_kept:
                self._known_whole.discard(path)
                shutil.rmtree(path, ignore_errors=True)
        for path in self.path.glob("step-*.tmp"):
            shutil.rmtree(path, ignore_errors=True)

    def _is_whole(self, path: Path) -> bool:
        if path not in self._known_whole and find_damage(path) is None:
            self._known_whole.add(path)
        return path in self._known_whole


def load_newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest intact checkpoint of ``folder``, or None when there is none.

    Damaged checkpoints are skipped with a warning that names the file.
    """
    for path in _list_newest_first(folder):
        damage = find_damage(path)
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


def find_damage(path: Path) -> str | None:
    """Return a description of the damage to a checkpoint; None if it is intact."""
    try:
        text = (path / _MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        if text != _manifest_text(manifest):
            return f"{_MANIFEST} is not as it was written"
        missing = sorted(_REQUIRED - manifest.keys())
        if missing:
            return f"{_MANIFEST} does not name {missing[0]}"
        strange = {entry.name for entry in path.iterdir()} - {*manifest, _MANIFEST}
        if strange:
            return f"{min(strange)} does not belong to it"
        for name, expected in manifest.items():
            if sha256_file(path / name) != expected:
                return f"{name} does not match its SHA-256"
        step = read_json(path / "state.json")["step"]
        if path.name != f"step-{step}":
            return f"it is of step {step}"
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        return str(error) or type(error).__name__
    return None


def save_weights(
    path: Path, state: Mapping[str, Tensor], class_names: ClassNames | None = None
) -> None:
    """Write a state dict as safetensors, on the CPU and contiguous; the file is whole or absent.

    Args:
        path: The file.
        state: The state dict.
        class_names: Class names to store in the file's metadata, for ``load_weights``.
    """
    # Training keeps some weights in channels_last_3d; safetensors stores plain layouts only.
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        metadata = None if class_names is None else class_names_to_metadata(class_names)
        save_file(plain, unfinished, metadata=metadata)
        sync(unfinished)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def load_weights(
    module: torch.nn.Module, path: Path, class_names: ClassNames | None = None
) -> None:
    """Load a safetensors state dict into ``module``, strictly.

    The file holds either the module's own weights or the weights of a task (a training's
    checkpoint); in a task, the weights of its model are used. The rows of a classifier are matched
    by class name.

    Args:
        module: Module to load into. It is unchanged if this raises.
        path: The file.
        class_names: Class names of the module's classifiers; None to keep the order of the rows.

    Raises:
        InputError: The file is missing or not safetensors, or its weights belong to another
            architecture or to other classes.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"weights {path} cannot be read: {error}") from error
    if all(name.startswith(("model.", "objective.")) for name in state):
        state = {n.removeprefix("model."): v for n, v in state.items() if n.startswith("model.")}
    if class_names is not None:
        state = _order_classes(state, class_names, path)
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


def _order_classes(
    state: dict[str, Tensor], class_names: ClassNames, path: Path
) -> dict[str, Tensor]:
    found = read_class_names(path)
    state, moved = order_rows(state, found, class_names, origin=path)
    unnamed = [prefix for prefix in class_names if prefix not in found]
    if moved:
        logger.warning("%s: rows of %s reordered by class name", path, ", ".join(moved))
    if unnamed:
        logger.warning(
            "%s does not name the classes of %s; their order is taken to be the dataset's",
            path,
            ", ".join(unnamed),
        )
    return state


def _list_newest_first(folder: Path) -> list[Path]:
    steps = {
        int(match.group(1)): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"step-(\d+)", path.name))
    }
    return [path for _, path in sorted(steps.items(), reverse=True)]


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    writers: dict[str, Callable[[Path], None]] = {
        "optimizer.pt": lambda path: _save_optimizer(path, checkpoint.optimizer),
        "model.safetensors": lambda path: save_weights(path, checkpoint.model),
        "state.json": lambda path: write_json(path, checkpoint.state),
    }
    average = checkpoint.average
    if average is not None:
        writers["average.safetensors"] = lambda path: save_weights(path, average)

    def write(name: str) -> str:
        writers[name](folder / name)
        digest = pool.submit(sha256_file, folder / name)
        sync(folder / name)
        return digest.result()

    # Hashing takes as long as writing, so files are written in parallel and hashed while the disk
    # works. There are two threads per file: a writer that waits for its hash cannot deadlock.
    with ThreadPoolExecutor(2 * len(writers), thread_name_prefix="checkpoint") as pool:
        hashes = dict(zip(writers, pool.map(write, writers), strict=True))
    atomic_write_text(folder / _MANIFEST, _manifest_text(hashes))
    sync(folder)


def _save_optimizer(path: Path, state: Mapping[str, Any]) -> None:
    # torch computes a CRC that it never verifies, at a third of the cost of saving. Other threads
    # that save meanwhile do not need it either.
    has_crc = get_crc32_options()
    set_crc32_options(False)
    try:
        torch.save(state, path)
    finally:
        set_crc32_options(has_crc)


def _manifest_text(hashes: Mapping[str, str]) -> str:
    return json.dumps(hashes, indent=2, sort_keys=True) + "\n"
