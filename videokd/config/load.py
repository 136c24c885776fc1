"""Config loading (merge, validate, freeze) and dumping. Config files hold data, never code."""

import re
from ast import literal_eval
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from videokd.config.defaults import PATH_KEYS, TEMPLATES, default_config
from videokd.config.files import read_config
from videokd.config.hints import explain_unknown_key
from videokd.config.validate import validate_config
from videokd.utils.errors import InputError
from videokd.utils.paths import escape_path, expand_path

# A dataset's name becomes a folder and a module name.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Attributes of torch.nn.ModuleDict, which cannot be names of its modules. Listed here because
# --print-config should not wait for the import of torch; a test compares the list with torch.
RESERVED_NAMES = frozenset(
    """
    T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda
    double dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter
    get_submodule half ipu items keys load_state_dict modules mtia named_buffers named_children
    named_modules named_parameters parameters pop register_backward_hook register_buffer
    register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state
    set_submodule share_memory state_dict to to_empty train training type update values xpu
    zero_grad
    """.split()  # noqa: SIM905  (as a list it is 60 lines)
)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Return the frozen config of a YAML file with ``KEY VALUE`` overrides applied.

    ``_BASE_`` names local YAML files that are merged first. YAML is always safe-loaded.

    Args:
        path: The YAML file.
        overrides: Flat list KEY, VALUE, ... or KEY=VALUE, ... with dotted keys. Values are parsed
            as Python literals if possible, else taken as strings. ``expand_path`` expands ``~``
            and environment variables in paths.

    Raises:
        InputError: Missing file, unknown key (the message suggests a known one), wrong type or
            wrong value.
    """
    values = read_config(Path(path))
    _check_nodes(values, str(path))
    cfg = default_config()
    for section, template in TEMPLATES.items():
        for name in _section_names(values, section, str(path)):
            setattr(getattr(cfg, section), name, template())
    _merge(cfg, dict(_leaves(values)), source=str(path))
    _override(cfg, overrides, source="the command line")
    validate_config(cfg)
    cfg.freeze()
    return cfg


def override_config(cfg: CfgNode, overrides: Sequence[Any], *, source: str) -> CfgNode:
    """Return a frozen copy of a config with overrides applied.

    Args:
        cfg: Config to copy; not changed.
        overrides: See ``load_config``; strings are parsed like command-line values.
        source: Origin of the overrides, for messages.

    Raises:
        InputError: As in ``load_config``, with ``source`` in the message.
    """
    changed = cfg.clone()
    changed.defrost()
    _override(changed, overrides, source=source)
    with _named(source):
        validate_config(changed)
    changed.freeze()
    return changed


def split_overrides(overrides: Sequence[Any]) -> list[tuple[str, Any]]:
    """Split KEY, VALUE, ... or KEY=VALUE, ... into pairs; values are not parsed.

    Raises:
        InputError: The last key has no value.
    """
    pairs = []
    words = iter(overrides)
    for word in words:
        key, sign, value = str(word).partition("=")
        if not sign:
            try:
                value = next(words)
            except StopIteration:
                raise InputError(
                    f"{key} has no value; overrides are KEY VALUE or KEY=VALUE, like SEED 1"
                ) from None
        pairs.append((key, value))
    return pairs


def dump_config(cfg: CfgNode) -> str:
    """Return ``cfg`` as YAML that ``load_config`` reads back to an equal config."""
    plain = cfg.clone()
    plain.defrost()
    for key, path in _leaves(plain):
        if _is_path(key):
            _set(plain, key, escape_path(path))
    return plain.dump(sort_keys=False)


def _check_nodes(values: dict[str, Any], source: str) -> None:
    # Otherwise "DATA: 3" or "SEED: {A: 1}" would give a misleading error about an unknown key.
    defaults = default_config()
    for key, value in values.items():
        known = defaults.get(key)
        if isinstance(known, CfgNode) and not isinstance(value, dict):
            raise InputError(f"{source}: {key} must hold keys of its own, got {value!r}")
    for section in TEMPLATES:
        for name, value in values.get(section, {}).items():
            if not isinstance(value, dict):
                raise InputError(
                    f"{source}: {section}.{name} must hold keys of its own, got {value!r}; "
                    "write {} for the defaults"
                )


def _section_names(values: dict[str, Any], section: str, source: str) -> list[str]:
    names = list(values.get(section) or {})
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(
                f"{source}: {section}.{name}: a name must start with a letter and hold only "
                "letters, digits and _"
            )
        if name in RESERVED_NAMES:
            raise InputError(
                f"{source}: {section}.{name}: the name {name} means something to torch; take "
                f"another, like {name.upper()} or my_{name}"
            )
    return names


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@contextmanager
def _named(source: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _override(cfg: CfgNode, overrides: Sequence[Any], *, source: str) -> None:
    known = dict(_leaves(cfg))
    with _named(source):
        pairs = split_overrides(overrides)
    _merge(cfg, {key: _parse(value, known.get(key)) for key, value in pairs}, source=source)


def _parse(text: Any, default: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        value = literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    # For a string key keep the text: 007, 1e3 and 2026_12_01 parse as numbers but may be folders.
    return text if isinstance(default, str) and not isinstance(value, str) else value


def _merge(cfg: CfgNode, leaves: dict[str, Any], *, source: str) -> None:
    known = dict(_leaves(cfg))
    for key, value in leaves.items():
        if key not in known:
            sections = {section: list(cfg[section]) for section in TEMPLATES}
            hint = explain_unknown_key(key, list(known), sections)
            raise InputError(f"{source}: unknown key {key}{hint}")
        coerced = _coerce(key, value, known[key], source)
        if _is_path(key):
            with _named(f"{source}: {key}"):
                coerced = expand_path(coerced)
        _set(cfg, key, coerced)


def _is_path(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in PATH_KEYS


def _set(cfg: CfgNode, key: str, value: Any) -> None:
    *nodes, last = key.split(".")
    for name in nodes:
        cfg = cfg[name]
    cfg[last] = value


def _coerce(key: str, value: Any, default: Any, source: str) -> Any:
    if isinstance(default, list) and isinstance(value, str):
        value = _split_words(value, default)
    if isinstance(default, list) and isinstance(value, (list, tuple)):
        return [_coerce(key, v, default[0], source) for v in value] if default else list(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, float) and isinstance(value, str):
        # YAML 1.1 reads 1e-3 (without a dot) as a string.
        try:
            return float(value)
        except ValueError:
            pass
    if type(value) is type(default):
        return value
    wanted = f"{type(default).__name__} (like {default!r})"
    if isinstance(default, list):
        wanted = f"a list, like {default or [value]}"
    elif isinstance(default, str):
        wanted = "text (write it in quotes)"
    raise InputError(f"{source}: {key} must be {wanted}, got {value!r}")


def _split_words(text: str, default: list[Any]) -> Any:
    """Split ``a``, ``a,b`` or ``[a, b]`` into words if ``default`` is not a list of numbers."""
    if default and not isinstance(default[0], str):
        return text
    return [word.strip(" '\"") for word in text.strip("[]() ").split(",") if word.strip()]
