"""The table of config keys; defaults, checks, docs/config.md and fingerprints come from it.

Key names follow SlowFast and detectron2 where these have the key.
"""

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import replace

from fvcore.common.config import CfgNode

from videokd.config import data_keys, training_keys
from videokd.config.schema import Key, set_value

# Sections whose nodes are named by the user and have the keys of <NAME>.
NAMED_SECTIONS = ("DATASETS", "EXPERTS", "STUDENTS", "VARIANTS")


def _table() -> dict[str, Key]:
    rows = [*data_keys.ROWS, *training_keys.ROWS]
    experts = [key for key in rows if key.name.startswith("EXPERTS.")]
    students = [replace(key, name=key.name.replace("EXPERTS", "STUDENTS")) for key in experts]
    end = rows.index(experts[-1]) + 1
    return {key.name: key for key in [*rows[:end], *students, *rows[end:]]}


KEYS: Mapping[str, Key] = _table()
_OPTION = re.compile(r"[A-Z][A-Z0-9_]*")


def default_config() -> CfgNode:
    """Return a fresh, unfrozen config with all defaults and no datasets."""
    cfg = CfgNode()
    for key in KEYS.values():
        section, _, rest = key.name.partition(".<NAME>")
        if rest:
            cfg.setdefault(section, CfgNode())
        elif "<OPTION>" not in key.name:
            set_value(cfg, key.name, copy(key.default))
    return cfg


def named_node(section: str) -> CfgNode:
    """Return a node with the defaults of ``section``.<NAME>, for one of ``NAMED_SECTIONS``."""
    node, prefix = CfgNode(), f"{section}.<NAME>."
    for name, key in KEYS.items():
        if name.startswith(prefix):
            node[name.removeprefix(prefix)] = copy(key.default)
    return node


def find_key(name: str) -> Key | None:
    """Return the key of a dotted name such as EXPERTS.UCF101.ARCH; None if there is none."""
    if name in KEYS:
        return KEYS[name]
    *nodes, last = name.split(".")
    if len(nodes) == 2 and nodes[0] in NAMED_SECTIONS:
        return KEYS.get(f"{nodes[0]}.<NAME>.{last}")
    is_option = last != "NAME" and _OPTION.fullmatch(last)
    return KEYS.get(".".join([*nodes, "<OPTION>"])) if is_option else None
