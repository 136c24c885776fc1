import re
from pathlib import Path

import pytest

from videokd.config.defaults import LEVEL_NAMES, TEMPLATES, default_config

ROOT = Path(__file__).parents[2]


def _leaves(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


ALL_KEYS = sorted(
    [
        *_leaves(default_config()),
        *(f"{section}.*.{key}" for section, make in TEMPLATES.items() for key in _leaves(make())),
    ]
)


@pytest.fixture(scope="module")
def readers() -> str:
    files = [
        *(ROOT / "videokd").rglob("build.py"),
        *(
            p
            for room in ("pipeline", "study", "cli")
            for p in (ROOT / "videokd" / room).rglob("*.py")
        ),
    ]
    return "\n".join(path.read_text() for path in files)


@pytest.mark.parametrize("key", ALL_KEYS)
def test_every_key_is_read_somewhere(readers, key):
    *_, node, leaf = ("", *key.split("."))
    # Levels are read as a whole.
    name = node if leaf in (*LEVEL_NAMES, "embedding") else leaf
    # Attribute access only: a key that is merely named in a message is not read.
    assert re.search(rf"\.{name}\b(?!\.yaml)", readers), f"{key} has no reader"
