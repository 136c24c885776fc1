"""Config files: plain YAML with unique keys, merged over the files that ``_BASE_`` names."""

from pathlib import Path
from typing import Any

import yaml

from videokd.utils.errors import InputError
from videokd.utils.paths import expand_path


class _Loader(yaml.SafeLoader):
    """YAML loader that rejects duplicate keys of a mapping; plain YAML keeps the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return the next mapping, before keys are merged into it by ``<<``."""
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.Mark] = {}
        scalars = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in scalars:
            mark = first.setdefault((key.tag, key.value), key.start_mark)
            if mark is not key.start_mark:
                raise InputError(
                    f"config {self.name}: {key.value} appears twice, in {_position(mark)} and in "
                    f"{_position(key.start_mark)}; merge the two"
                )
        return node


def read_config(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the values of a config file, merged over the values of its ``_BASE_`` files.

    Args:
        path: The YAML file.
        seen: Files that lead to this one through their ``_BASE_``.

    Raises:
        InputError: A file is missing, is not plain YAML, repeats a key, or is its own base.
    """
    if path.resolve() in seen:
        raise InputError(f"config {path} is its own _BASE_; remove the circle")
    values = _read_yaml(path)
    bases = values.pop("_BASE_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise InputError(f"config {path}: _BASE_ must be a file name or a list of them")
    merged: dict[str, Any] = {}
    for base in bases:
        below = path.parent / expand_path(base)
        merged = _overlay(merged, read_config(below, (*seen, path.resolve())))
    return _overlay(merged, values)


def parse_config(text: str, *, source: str) -> dict[str, Any]:
    """Return the values of a YAML text.

    Args:
        text: YAML mapping with unique keys; an empty text gives no values.
        source: Name of the text in messages.

    Raises:
        InputError: The text is not plain YAML, is not a mapping, or repeats a key.
    """
    try:
        loader = _Loader(text)
        loader.name = source
        values = loader.get_single_data()
    except yaml.YAMLError as error:
        cause = " ".join(str(error).split())
        raise InputError(f"config {source} is not plain YAML: {cause}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"config {source} must hold KEY: value lines, got {type(values).__name__}")
    return values


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"config {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"config {path} is not UTF-8 text") from error
    return parse_config(text, source=str(path))


def _position(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    # Options belong to the loss of the NAME beside them: another NAME replaces them all.
    if {"NAME"} <= above.keys() & below.keys() and above["NAME"] != below["NAME"]:
        return above
    # Return copies: a YAML alias makes several keys share one dict.
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            merged[key] = _overlay(known, value)
        else:
            merged[key] = value
    return merged
