"""Download of named weights through the libraries' own loaders.

Existing files are not downloaded again. torchvision's file names contain a part of their SHA-256,
which is checked; pytorchvideo publishes no hashes.
"""

import importlib
import os
import re
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlparse

import torch
from torch import Tensor

from videokd.models.weights.files import explain_failure, unwrap
from videokd.models.weights.positions import Clip
from videokd.utils.class_names import ONLY_HEAD, ClassNames
from videokd.utils.errors import InputError, how_to_install

_HUB = "https://huggingface.co"
_PYTORCHVIDEO = ("csn", "r2plus1d", "resnet", "slowfast", "vision_transformers", "x3d")


class Fetched(NamedTuple):
    """Weights from a library or a file."""

    state: dict[str, Tensor]
    note: str = ""
    """Changes made by the library's loader, for the report."""
    clip: Clip | None = None
    """Clip size of the weights, if their config states it."""
    class_names: ClassNames = MappingProxyType({})
    """Class names per classifier; ``ONLY_HEAD`` is the classifier of a library's network."""


class _Library(NamedTuple):
    example: str
    find: Callable[[str], str]
    """Function from a name to its canonical spelling; raises InputError for an unknown name."""
    fetch: Callable[[str], Fetched]


def identify(library: str, name: str) -> str:
    """Return the canonical "library:name" of a library's weights, without downloading.

    Raises:
        InputError: Unknown library or name, or the library is not installed.
    """
    return f"{library}:{_get_library(library, name).find(name)}"


def fetch(library: str, name: str) -> Fetched:
    """Return named weights of a library, on the CPU; downloads them if needed.

    Raises:
        InputError: As in ``identify``; or the weights cannot be downloaded or read.
    """
    found = _get_library(library, name)
    return found.fetch(found.find(name))


def _get_library(library: str, name: str) -> _Library:
    if library not in _LIBRARIES:
        known = ", ".join(found.example for found in _LIBRARIES.values())
        raise InputError(
            f"weights {library}:{name} are of no known library; there are {known}; a file from "
            "elsewhere is downloaded first and named by its path"
        )
    if not name:
        raise InputError(f"weights {library}: need a name, as {_LIBRARIES[library].example}")
    return _LIBRARIES[library]


def _find_torchvision(name: str) -> str:
    from torchvision.models import get_weight

    try:
        weights = get_weight(name)
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"torchvision has no weights {name!r}; write the enum and its member, as "
            "R2Plus1D_18_Weights.KINETICS400_V1"
        ) from error
    return str(weights)


def _fetch_torchvision(name: str) -> Fetched:
    from torchvision.models import get_weight

    weights = get_weight(name)
    fetched = _fetch_url(weights.url, weights.get_state_dict)
    return fetched._replace(class_names={ONLY_HEAD: weights.meta.get("categories", ())})


def _find_pytorchvideo(name: str) -> str:
    urls = _pytorchvideo_urls()
    if name not in urls:
        raise InputError(f"pytorchvideo has no weights {name!r}; it has {', '.join(sorted(urls))}")
    return name


def _fetch_pytorchvideo(name: str) -> Fetched:
    url = _pytorchvideo_urls()[name]

    def load(**options: Any) -> Any:
        return torch.hub.load_state_dict_from_url(url, **options)

    return _fetch_url(url, load)


def _pytorchvideo_urls() -> dict[str, str]:
    urls: dict[str, str] = {}
    with warnings.catch_warnings():
        # pytorchvideo imports fvcore.nn, which uses torch.jit.script; torch warns that it is old.
        warnings.simplefilter("ignore")
        for module in _PYTORCHVIDEO:
            hub = importlib.import_module(f"pytorchvideo.models.hub.{module}")
            urls |= {k: v for k, v in hub.checkpoint_paths.items() if "detection" not in k}
    return urls


def _fetch_url(url: str, load: Callable[..., Any]) -> Fetched:
    kept = Path(torch.hub.get_dir(), "checkpoints", os.path.basename(urlparse(url).path))
    is_there = kept.exists()
    try:
        content = load(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:
        # Without a file the download failed; an existing file is unreadable.
        if is_there or kept.exists():
            raise InputError(
                f"weights {kept} {explain_failure(error, kept)}; they came from {url}"
            ) from error
        raise InputError(
            f"weights {url} cannot be downloaded ({_one_line(error)}); fetch that file by hand "
            f"and put it at {kept}, or name its path in WEIGHTS"
        ) from error
    return Fetched(unwrap(content, kept))


def _find_hugging_face(name: str) -> str:
    _require("transformers", f"hf:{name}")
    return name


def _fetch_hugging_face(name: str) -> Fetched:
    # A revision is a branch, a tag or a commit.
    repository, _, revision = name.partition("@")
    try:
        return load_hugging_face(repository, revision=revision or "main")
    except (OSError, ValueError) as error:
        url = f"{_HUB}/{repository}"
        raise InputError(
            f"weights {url} cannot be downloaded or are of no video classifier "
            f"({_one_line(error)}); fetch its config.json and model.safetensors by hand into one "
            "folder and name that folder in WEIGHTS"
        ) from error


def load_hugging_face(source: str, **options: Any) -> Fetched:
    """Return the weights of a Hugging Face video classifier, read by transformers.

    transformers reads the file, because names in the file can differ from names in the network.
    Code from the repository is never run.

    Args:
        source: A repository or a folder.
        **options: Options of ``from_pretrained``.

    Raises:
        InputError: transformers is not installed.
        OSError: The weights cannot be read or downloaded.
        ValueError: The network is not a video classifier.
    """
    _require("transformers", source)
    from transformers import AutoModelForVideoClassification

    net, info = AutoModelForVideoClassification.from_pretrained(
        source, output_loading_info=True, trust_remote_code=False, **options
    )
    # transformers initialises tensors at random that the file lacks; leave these out.
    drawn = set(info["missing_keys"]) | {entry[0] for entry in info["mismatched_keys"]}
    state = {name: value for name, value in net.state_dict().items() if name not in drawn}
    ignored = sorted(info["unexpected_keys"])
    note = f"transformers left out {len(ignored)}: {', '.join(ignored[:3])} ..." if ignored else ""
    return Fetched(state, note, _clip_of(net.config), _class_names_of(net.config))


def _clip_of(config: Any) -> Clip | None:
    num_frames, size = getattr(config, "num_frames", None), getattr(config, "image_size", None)
    size = size[0] if isinstance(size, list | tuple) else size
    if isinstance(num_frames, int) and isinstance(size, int):
        return Clip(num_frames, size)
    return None


def _class_names_of(config: Any) -> ClassNames:
    names = [name for _, name in sorted(config.id2label.items())]
    is_named = any(re.fullmatch(r"LABEL_\d+", name) is None for name in names)
    return {ONLY_HEAD: names} if is_named else {}


def _find_timm(name: str) -> str:
    _require("timm", f"timm:{name}")
    import timm

    if not timm.is_model(name.split(".")[0]):
        close = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*", pretrained=True)[:5]
        raise InputError(f"timm has no network {name!r}; like it are {', '.join(close) or 'none'}")
    try:
        found = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise InputError(f"timm has no weights {name!r}: {error}") from error
    if found is None or not found.has_weights:
        raise InputError(f"timm has no weights for {name!r}, only the network")
    return name


def _fetch_timm(name: str) -> Fetched:
    import timm

    found: Any = timm.models.get_pretrained_cfg(name)
    url = f"{_HUB}/{found.hf_hub_id}" if found.hf_hub_id else found.url
    try:
        return Fetched(timm.create_model(name, pretrained=True).state_dict())
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"weights timm:{name} cannot be downloaded from {url} ({_one_line(error)}); fetch "
            "the file there by hand and name its path in WEIGHTS"
        ) from error


def _require(package: str, wanted: str) -> None:
    if find_spec(package) is None:
        raise InputError(f"weights {wanted} need {package}; {how_to_install(package)}")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]} ..."


_LIBRARIES = {
    "torchvision": _Library(
        "torchvision:R2Plus1D_18_Weights.KINETICS400_V1", _find_torchvision, _fetch_torchvision
    ),
    "pytorchvideo": _Library("pytorchvideo:slow_r50", _find_pytorchvideo, _fetch_pytorchvideo),
    "hf": _Library(
        "hf:MCG-NJU/videomae-base-finetuned-kinetics", _find_hugging_face, _fetch_hugging_face
    ),
    "timm": _Library("timm:resnet50.a1_in1k", _find_timm, _fetch_timm),
}
