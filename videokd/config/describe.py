"""Texts about the config: a config with comments, and the page docs/config.md.

python -m videokd.config.describe > docs/config.md
"""

import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml
from fvcore.common.config import CfgNode

from videokd.config.keys import KEYS, find_key
from videokd.config.schema import AFFECTS, Key, get_value, is_path, leaves, set_value
from videokd.utils.paths import escape_path

_WIDTH = 100
_PAGE_HEAD = """\
# Config keys

This page is generated from [the tables of keys](../videokd/config/data_keys.py) by
`python -m videokd.config.describe > docs/config.md`.

A config file is YAML. `_BASE_: FILE` merges it over another file. `KEY VALUE` words on the command
line, such as `SOLVER.BASE_LR 0.01`, override it. `--print-config` prints a config with these
explanations, and with values in place of those that stand for others (0 for SOLVER.BASE_LR, ...).
`~` and `$NAME` are expanded in paths.

*Affects* names the trainings whose weights depend on a key. When such a key changes, they are
trained again, and so are the trainings that use their weights; all others are reused.

"""


def resolve_config(cfg: CfgNode) -> CfgNode:
    """Return a frozen copy in which values that stand for another key's value are replaced."""
    resolved = cfg.clone()
    resolved.defrost()
    for name, value in leaves(cfg):
        key = find_key(name)
        is_schedule = name.endswith((".BASE_LR", ".MAX_EPOCH"))
        if is_schedule and not get_value(cfg, name.rpartition(".")[0]).get("TRAIN", True):
            continue  # An expert that is not trained has no schedule.
        if key and key.inherits and value in (0, "same"):
            # The options of a loss come with its name.
            shared = ".NAME" if name.endswith(".NAME") else ""
            source = get_value(cfg, key.inherits.removesuffix(shared))
            value = source.clone() if shared else source
            set_value(resolved, name.removesuffix(shared), value)
    datasets = list(cfg.DATASETS)
    resolved.JOINT.EXPERTS = list(cfg.JOINT.EXPERTS) or datasets
    if cfg.JOINT.SHAPES_FROM == "first":
        resolved.JOINT.SHAPES_FROM = datasets[0]
    resolved.freeze()
    return resolved


def describe_config(cfg: CfgNode, given: CfgNode) -> str:
    """Return a config as YAML with comments, which ``load_config`` reads back to an equal config.

    Args:
        cfg: The config, with resolved values.
        given: The config before values were resolved.
    """
    return "\n".join(_describe_node(cfg, dict(leaves(given)), "", set())) + "\n"


def _describe_node(
    node: CfgNode, given: dict[str, Any], prefix: str, explained: set[str]
) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    for last, value in node.items():
        name = f"{prefix}{last}"
        if isinstance(value, CfgNode):
            yield f"{indent}{last}:" + ("" if value else " {}")
            yield from _describe_node(value, given, f"{name}.", explained)
            continue
        key = find_key(name)
        assert key is not None, name
        # Keys with many names, such as those of all networks, are explained once.
        comment = "" if key.help in explained else key.help
        explained.add(key.help)
        if given.get(name, value) != value:
            comment = "; ".join(filter(None, [comment, f"given as {_to_yaml(given[name])}"]))
        line = f"{indent}{last}: {_to_yaml(escape_path(value) if is_path(name) else value)}"
        if comment and len(line) + len(comment) + 4 > _WIDTH:
            yield from textwrap.wrap(
                comment,
                _WIDTH,
                initial_indent=f"{indent}# ",
                subsequent_indent=f"{indent}# ",
                break_on_hyphens=False,
            )
            yield line
        else:
            yield line + (f"  # {comment}" if comment else "")


def _to_yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1e9).removesuffix("...\n").strip()


def describe_keys() -> str:
    """Return the page docs/config.md, in Markdown."""
    sections: dict[str, dict[str, Key]] = {}
    for key in KEYS.values():
        if key.name.startswith("STUDENTS."):
            continue
        name = re.sub(r"\.(stage\d|embedding)\b", ".<LEVEL>", key.name)
        section, _, rest = name.rpartition(".") if "<NAME>" in name else name.partition(".")
        title = (section if rest else "Top level").replace("EXPERTS", "EXPERTS.<NAME>, STUDENTS")
        sections.setdefault(title, {}).setdefault(rest or name, key)
    parts = [_PAGE_HEAD]
    for title, keys in sections.items():
        parts.append(f"## `{title}`\n\n| Key | Default | Allowed | Affects | Meaning |\n")
        parts.append("|---|---|---|---|---|\n")
        parts += [_describe_row(name, key) for name, key in keys.items()]
        parts.append("\n")
    parts.append("## Affects\n\n")
    parts += [f"- *{name}*: {text}\n" for name, text in AFFECTS.items()]
    return "".join(parts)


def _describe_row(name: str, key: Key) -> str:
    allowed = f"`{key.allowed}`".replace(" | ", "`, `") if key.allowed else ""
    help_text = re.sub(r" at (stage\d|embedding)\b", " at the level", key.help)
    if key.needs:
        help_text += f"; read with {key.needs}"
    help_text = help_text.replace("|", r"\|").replace("<", r"\<")
    default = "" if key.is_option else f"`{_to_yaml(key.default)}`"
    return f"| `{name}` | {default} | {allowed} | {key.affects} | {help_text} |\n"


if __name__ == "__main__":
    sys.stdout.write(describe_keys())
