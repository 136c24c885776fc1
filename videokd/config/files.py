"""Config files: plain YAML, each key once, with the files of ``_BASE_`` merged below."""

from pathlib import Path
from typing import Any

import yaml

from videokd.utils.errors import InputError
from videokd.utils.paths import expand_path


class _Loader(yaml.SafeLoader):
    """YAML loader that refuses a key that a mapping has twice, where YAML takes the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return the next mapping; keys merged into it by ``<<`` are not there yet."""
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.Mark] = {}
        scalars = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in scalars:
            place = first.setdefault((key.tag, key.value), key.start_mark)
            if place is not key.start_mark:
                raise InputError(
                    f"config {self.name}: {key.value} is there twice, in {_place(place)} and in "
                    f"{_place(key.start_mark)}; put everything under one of them"
                )
        return node


def read_config(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the values of a config file, over those of the files that its ``_BASE_`` names.

    Args:
        path: The YAML file.
        seen: Files that name this one as their base.

    Raises:
        InputError: A file is missing, no plain YAML, has a key twice, or is its own base.
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
    """Return the values of YAML text, each key once.

    Args:
        text: Empty for no values.
        source: Name of the text in messages.

    Raises:
        InputError: It is no plain YAML, no mapping, or has a key twice.
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


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    # Nothing is changed in place: a YAML alias makes several keys share one dict.
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            merged[key] = _overlay(known, value)
        else:
            merged[key] = value
    return merged
