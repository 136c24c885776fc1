"""Expansion of ``~`` and environment variables in paths."""

import os
import re

from videokd.utils.errors import InputError

_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([^}]*)\})", re.ASCII)


def expand_path(text: str) -> str:
    """Return a path with ``$NAME``, ``${NAME}`` and a leading ``~`` or ``~user`` replaced.

    ``$$`` stands for a dollar sign.

    Raises:
        InputError: A variable is not set or empty, or the user does not exist.
    """
    path = _VARIABLE.sub(lambda match: _find_value(match, text), text)
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        user = expanded.partition("/")[0]
        raise InputError(
            f"path {text!r}: there is no home folder {user}; write ./{user} for a folder of that "
            "name"
        )
    return expanded


def escape_path(path: str) -> str:
    """Return the text that ``expand_path`` expands to ``path``."""
    text = path.replace("$", "$$")
    return f"./{text}" if text.startswith("~") else text


def _find_value(match: re.Match[str], text: str) -> str:
    if match[1]:
        return "$"
    name = match[2] or match[3]
    value = os.environ.get(name, "")
    if not value:
        raise InputError(
            f"path {text!r}: the environment variable {name!r} is not set or empty; set it, or "
            "write $$ for a dollar sign"
        )
    return value
