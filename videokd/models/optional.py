"""Networks of libraries that need not be installed: imported when the first one is built."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from videokd.utils.errors import InputError


def build_with(library: str, family: str) -> Callable[..., nn.Module]:
    """Return the ``build`` of ``videokd.models.plain.<family>``, which is imported when called.

    Calling it raises InputError where the library is missing or too old.

    Args:
        library: What that file imports; videokd's extra that installs it has the same name.
        family: Name of the file.
    """

    def build(**arguments: Any) -> nn.Module:
        try:
            module = import_module(f"videokd.models.plain.{family}")
        except ImportError as error:
            raise InputError(
                f"{family} networks need {library}, and importing it failed: {error}; "
                f"run pip install 'videokd[{library}]'"
            ) from error
        net: nn.Module = module.build(**arguments)
        return net

    return build
