"""Lazy import of networks from optional libraries."""

from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any

from torch import nn

from videokd.utils.errors import InputError, how_to_install

# As in setup.cfg. Older versions have other weights or other weight names.
MIN_VERSIONS = {"transformers": (5, 18)}


def build_with(library: str, family: str) -> Callable[..., nn.Module]:
    """Return a function that imports ``videokd.models.plain.<family>`` and calls its ``build``.

    The function raises InputError if the library is missing or too old.

    Args:
        library: Library that the module imports, a key of ``MIN_VERSIONS``. videokd's extra that
            installs it has the same name.
        family: Name of the module.
    """

    def build(**arguments: Any) -> nn.Module:
        try:
            _check_version(library)
            module = import_module(f"videokd.models.plain.{family}")
        except ImportError as error:
            raise InputError(
                f"{family} networks need {library}, which cannot be used: {error}; "
                f"{how_to_install(library)}"
            ) from error
        net: nn.Module = module.build(**arguments)
        return net

    return build


def _check_version(library: str) -> None:
    installed, least = metadata.version(library), MIN_VERSIONS[library]
    if tuple(int(part) for part in installed.split(".")[:2]) < least:
        wanted = ".".join(map(str, least))
        raise ImportError(f"version {installed} is installed, {wanted} or newer is needed")
