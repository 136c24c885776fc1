"""Config loading (merge, check, freeze) and dumping. Config files hold data, never code."""

import re
from ast import literal_eval
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from videokd.config.checks import check_config
from videokd.config.files import read_config
from videokd.config.hints import explain_unknown_key
from videokd.config.keys import (
    NAMED_SECTIONS,
    default_config,
    find_key,
    named_node,
)
from videokd.config.schema import Key, get_value, is_path, leaves, set_value
from videokd.utils.errors import InputError
from videokd.utils.paths import escape_path, expand_path

# A dataset's name becomes a folder and a module name.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Attributes of torch.nn.ModuleDict, which cannot be names of its modules. Listed here because
# configs load without the slow import of torch; a test compares the list with torch.
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
    cfg = default_config()
    _check_nodes(values, cfg, source=str(path))
    for section in NAMED_SECTIONS:
        for name in _section_names(values, section, str(path)):
            cfg[section][name] = named_node(section)
    _merge(cfg, dict(leaves(values)), source=str(path))
    _override(cfg, overrides, source="the command line")
    check_config(cfg)
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
        check_config(changed)
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
    for name, path in leaves(plain):
        if is_path(name):
            set_value(plain, name, escape_path(path))
    return plain.dump(sort_keys=False)


def _check_nodes(values: dict[str, Any], known: CfgNode, *, source: str, prefix: str = "") -> None:
    # Otherwise "DATA: 3" or "LOGIT_LOSS: dkd" would give a misleading error about an unknown key.
    for name, node in known.items():
        value = values.get(name, {})
        if isinstance(node, CfgNode) and not isinstance(value, dict):
            example = f", like {{NAME: {value}}}" if "NAME" in node else ""
            raise InputError(
                f"{source}: {prefix}{name} must hold keys of its own{example}, got {value!r}"
            )
        if isinstance(node, CfgNode):
            _check_nodes(value, node, source=source, prefix=f"{prefix}{name}.")
    for section in NAMED_SECTIONS if not prefix else ():
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


@contextmanager
def _named(source: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _override(cfg: CfgNode, overrides: Sequence[Any], *, source: str) -> None:
    with _named(source):
        pairs = split_overrides(overrides)
    _merge(cfg, {name: _parse(value, find_key(name)) for name, value in pairs}, source=source)


def _parse(text: Any, key: Key | None) -> Any:
    if not isinstance(text, str):
        return text
    try:
        value = literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    # For a string key keep the text: 007, 1e3 and 2026_12_01 parse as numbers but may be folders.
    is_text = key is not None and isinstance(key.default, str)
    return text if is_text and not isinstance(value, str) else value


def _merge(cfg: CfgNode, values: dict[str, Any], *, source: str) -> None:
    known = dict(leaves(cfg))
    # The NAME of a loss comes before its options, because it removes the options of another loss.
    for name in sorted(values, key=lambda name: not name.endswith(".NAME")):
        key = find_key(name)
        if key is None or not (name in known or key.is_option):
            sections = {section: list(cfg[section]) for section in NAMED_SECTIONS}
            hint = explain_unknown_key(name, list(known), sections)
            raise InputError(f"{source}: unknown key {name}{hint}")
        value = _coerce(name, values[name], key.default, source)
        if is_path(name):
            with _named(f"{source}: {name}"):
                value = expand_path(value)
        if name.endswith(".NAME") and value != get_value(cfg, name):
            set_value(cfg, name.removesuffix(".NAME"), CfgNode())
        set_value(cfg, name, value)


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
