"""Reading of weight files as state dicts of tensors, without running code from the files."""

import json
import pickle
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from videokd.utils.errors import InputError
from videokd.utils.io import read_json, sha256_file, sha256_json

# Keys of the state dict in files of SlowFast, MMAction2 and most others, VideoMAE, timm and
# DeepSpeed.
_WRAPPERS = ("model_state", "state_dict", "model_state_dict", "model", "module")
# File names in folders: trained models of a run and Hugging Face; exported students; Hugging Face
# in several parts; older versions of Hugging Face.
_IN_FOLDERS = (
    *("model.safetensors", "student.safetensors", "student.pth"),
    *("model-*-of-*.safetensors", "pytorch_model*.bin"),
)
_UNITS = ("experts/*", "joint", "joint/*", "students/*", "baselines/*/*")
_KINDS = (
    "a .pyth, .pth, .pt or .safetensors file, a folder of a run like runs/a/experts/UCF, an "
    "exported student, or a folder of Hugging Face"
)


def find_files(path: Path) -> tuple[Path, ...]:
    """Return the weight files at a path: the file itself, or the files in a folder.

    A folder is one model of a run directory (for an unfinished training its newest intact
    checkpoint is used), an exported student, or a Hugging Face folder.

    Args:
        path: File or folder.

    Raises:
        InputError: The path does not exist, or its folder holds no known weights.
    """
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise InputError(f"weights {path} do not exist; name {_KINDS}")
    for pattern in _IN_FOLDERS:
        found = tuple(sorted(path.glob(pattern)))
        if found:
            return found
    checkpoint = _newest_checkpoint(path / "checkpoints")
    if checkpoint is not None:
        return (checkpoint,)
    units = sorted(unit for pattern in _UNITS for unit in path.glob(f"{pattern}/training.json"))
    if units:
        names = ", ".join(str(unit.parent) for unit in units)
        raise InputError(f"weights {path} is a run of several models; name one of {names}")
    raise InputError(f"weights {path} is a folder without weights; name {_KINDS}")


def is_hugging_face(path: Path) -> bool:
    """Return whether Hugging Face's ``save_pretrained`` wrote a folder."""
    try:
        config = read_json(path / "config.json")
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config


def hash_files(path: Path) -> str:
    """Return the SHA-256 of the weights at a path.

    Raises:
        InputError: As in ``find_files``.
    """
    hashes = []
    for file in find_files(path):
        info = file.stat()
        hashes.append(_hash_file(file, info.st_mtime_ns, info.st_size))
    return hashes[0] if len(hashes) == 1 else sha256_json(hashes)


def read_files(path: Path) -> dict[str, Tensor]:
    """Return the state dict of the weights at a path, on the CPU.

    Raises:
        InputError: The file does not exist, is damaged, has no weights, or holds more than tensors
            and plain values.
    """
    state: dict[str, Tensor] = {}
    for file in find_files(path):
        state |= read_file(file)
    return state


def read_file(path: Path) -> dict[str, Tensor]:
    """Return the state dict of one file; see ``read_files``."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except OSError as error:
            raise InputError(f"weights {path} cannot be read: {error.strerror or error}") from error
        except SafetensorError as error:
            raise InputError(
                f"weights {path} are damaged, or not safetensors ({error}); fetch them again"
            ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged pickle can raise anything.
    except Exception as error:
        raise InputError(f"weights {path} {explain_failure(error, path)}") from error
    return unwrap(content, path)


def explain_failure(error: Exception, path: Path) -> str:
    """Return why ``torch.load`` failed and the remedy, to append to the file's name."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    text = " ".join(str(error).split())
    # torch's message names the function or class that the file refers to.
    wanted = re.search(r"(?:GLOBAL|Unsupported class) (\S+)", text)
    if isinstance(error, pickle.UnpicklingError) and wanted:
        return (
            f"hold objects that only code can rebuild ({wanted[1]}), which is never run; ask its "
            "authors for safetensors, or write a state dict of tensors alone where you trust the "
            f"file: torch.save(torch.load({path.name!r}, weights_only=False)['state_dict'], "
            "'weights.pth')"
        )
    return f"are damaged, or no file of torch ({text[:100] or type(error).__name__}); get them anew"


def unwrap(content: Any, origin: Any) -> dict[str, Tensor]:
    """Return the tensors of the state dict inside the content of a file.

    Args:
        content: Content of the file: dicts, tensors and plain values.
        origin: Name of the file in messages.

    Raises:
        InputError: The content has no state dict.
    """
    while isinstance(content, Mapping):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    keys: list[Any] = list(content) if isinstance(content, Mapping) else []
    state = {str(key): content[key] for key in keys if isinstance(content[key], Tensor)}
    if not state:
        raise InputError(
            f"weights {origin} hold no state dict; they hold "
            f"{', '.join(map(str, keys[:8])) or type(content).__name__}, known are "
            f"{', '.join(_WRAPPERS)} and plain state dicts"
        )
    return state


def _newest_checkpoint(folder: Path) -> Path | None:
    steps = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"step-(\d+)", path.name))
    }
    for _, step in sorted(steps.items(), reverse=True):
        # Prefer the averaged weights, which are the tested ones.
        for name in ("average.safetensors", "model.safetensors"):
            file = step / name
            try:
                hashes = json.loads((step / "manifest.json").read_text(encoding="utf-8"))
                if file.is_file() and hashes[name] == sha256_file(file):
                    return file
            except (OSError, ValueError, KeyError, TypeError):
                break
    return None


@lru_cache(maxsize=64)
def _hash_file(path: Path, mtime_ns: int, size: int) -> str:
    # Cached because a study hashes the same files for each plan. Time and size only serve as keys.
    return sha256_file(path)
