"""The rules of the house that a reader would otherwise have to remember."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from videokd.config import load_config

ROOT = Path(__file__).parents[1]
# A package imports only packages before it.
LAYERS = [
    *("utils", "config", "synthetic", "data", "curation", "models", "fusion", "distill", "engine"),
    *("evaluation", "export", "report", "pipeline", "study", "cli"),
]
# Rooms of data/, and what each may import of data/. The files beside them may import all rooms.
ROOMS = {
    "pool": (),
    "decode": (),
    "lists": ("decode.source",),
    "sampling": (),
    "augment": ("sampling",),
}
PACKAGE_FILES = sorted((ROOT / "videokd").rglob("*.py"))
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))
TOOL_FILES = sorted((ROOT / "tools").glob("*.py"))
CONFIG_FILES = sorted((ROOT / "configs").rglob("*.yaml"))
# Letters and digits in a row: a pattern that finds itself here finds itself in any message.
NO_MESSAGE = "abcdefghijklmnopqrstuvwxyz 0123456789"
# (importing, imported): beyond the order of the layers.
STRANGERS = {
    ("synthetic", "config"),
    ("models", "data"),
    ("engine", "models"),
    ("engine", "fusion"),
    ("engine", "distill"),
    ("report", "config"),
    *((layer, "curation") for layer in LAYERS if layer not in ("curation", "cli")),
}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path) -> Iterator[str]:
    """Yield the dotted names of all imported modules, those inside functions included."""
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _packages_of_ours(path: Path) -> set[str]:
    parts = [name.split(".") for name in _imports(path)]
    return {p[1] for p in parts if p[0] == "videokd" and len(p) > 1 and p[1] in LAYERS}


def _has_cfg(path: Path) -> bool:
    """Say whether ``path`` is one of the places that may know the config."""
    layer = path.relative_to(ROOT / "videokd").parts[0]
    return layer in ("config", "pipeline", "study", "cli") or path.name == "build.py"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_name)
def test_a_package_imports_only_packages_before_it(path):
    layer = path.relative_to(ROOT / "videokd").parts[0]
    if layer not in LAYERS:
        assert not _packages_of_ours(path)
        return
    for imported in _packages_of_ours(path):
        assert LAYERS.index(imported) <= LAYERS.index(layer), f"{layer} imports {imported}"
        assert (layer, imported) not in STRANGERS, f"{layer} must not know {imported}"
        if imported == "config":
            assert _has_cfg(path), f"{_name(path)} must not know the config"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_data_imports_only_the_rooms_named_here(room):
    allowed = tuple(f"videokd.data.{name}" for name in (room, *ROOMS[room]))
    for path in (ROOT / "videokd" / "data" / room).rglob("*.py"):
        for name in _imports(path):
            if name.startswith("videokd.data."):
                assert name.startswith(allowed), f"{_name(path)} imports {name}"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_name)
def test_cfg_is_known_at_the_edges_only(path):
    if _has_cfg(path):
        return
    for node in ast.walk(_parse(path)):
        names = [getattr(node, field, None) for field in ("id", "arg", "attr")]
        assert "cfg" not in names, f"{_name(path)}:{getattr(node, 'lineno', 0)} names cfg"
    assert not any(name.startswith(("fvcore.common.config", "yacs")) for name in _imports(path))


@pytest.mark.parametrize("path", sorted((ROOT / "videokd/models/plain").glob("*.py")), ids=_name)
def test_plain_networks_import_nothing_of_ours(path):
    assert not any(name.startswith("videokd") for name in _imports(path))


@pytest.mark.parametrize("path", PACKAGE_FILES + TEST_FILES + TOOL_FILES, ids=_name)
def test_files_have_at_most_400_lines_and_functions_80(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.FunctionDef):
            num_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert num_lines <= 80, f"{_name(path)}: {node.name} has {num_lines} lines"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_name)
def test_functions_have_at_most_8_parameters(path):
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.FunctionDef):
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
            own = [name for name in names if name not in ("self", "cls")]
            num_parameters = len(own) + len(node.args.kwonlyargs)
            assert num_parameters <= 8, f"{node.name} has {num_parameters} parameters"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_name)
def test_the_package_does_not_print(path):
    if path.is_relative_to(ROOT / "videokd" / "cli"):
        return
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{_name(path)}:{node.lineno} prints"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_name)
def test_public_names_have_docstrings_and_files_are_ascii(path):
    tree = _parse(path)
    assert path.read_bytes().isascii()
    assert ast.get_docstring(tree), f"{_name(path)} has no docstring"
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    public = [
        node
        for body in (tree.body, *(c.body for c in classes if not c.name.startswith("_")))
        for node in body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    silent = [node.name for node in public if not ast.get_docstring(node)]
    assert silent == []


@pytest.mark.parametrize("path", TEST_FILES, ids=_name)
def test_every_expected_error_is_checked_by_its_message(path):
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("pytest.raises"):
            keywords = [keyword.arg for keyword in node.keywords]
            assert "match" in keywords, f"{_name(path)}:{node.lineno} has no match="
            patterns = [k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)]
            loose = [pattern for pattern in patterns if re.search(pattern, NO_MESSAGE)]
            assert loose == [], f"{_name(path)}:{node.lineno} would match any message"


@pytest.mark.parametrize("path", TEST_FILES, ids=_name)
def test_no_two_tests_of_a_file_share_a_name(path):
    # pytest would run the last one only.
    names = [node.name for node in _parse(path).body if isinstance(node, ast.FunctionDef)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", CONFIG_FILES, ids=_name)
def test_every_config_loads_and_opens_with_its_command(path):
    load_config(path)
    first_lines = path.read_text(encoding="utf-8").splitlines()[:5]
    assert all(line.startswith("#") for line in first_lines[:1])
    assert any(f"--config-file {_name(path)}" in line for line in first_lines)


def test_yaml_is_read_in_one_place():
    # Elsewhere the last of two equal keys would win without a word.
    reading = [
        path
        for path in (*PACKAGE_FILES, *TOOL_FILES)
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "yaml"
        and ("load" in node.attr.lower() or "compose" in node.attr)
    ]
    assert [_name(path) for path in reading] == ["videokd/config/files.py"]


def test_every_path_on_a_command_line_is_expanded():
    # `--output=~/x` reaches a tool as it is; cli/common.py has the type that expands it.
    for path in (*PACKAGE_FILES, *TOOL_FILES):
        for node in ast.walk(_parse(path)):
            if isinstance(node, ast.keyword) and node.arg == "type":
                is_path = isinstance(node.value, ast.Name) and node.value.id in (
                    "Path",
                    "expand_path",
                )
                assert not is_path, f"{_name(path)}:{node.value.lineno}: take path_argument"


def test_nobody_is_sent_to_a_name_on_pypi():
    paths = [
        *(*PACKAGE_FILES, *TOOL_FILES, *CONFIG_FILES, ROOT / "Makefile"),
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
    ]
    pattern = re.compile(r"videokd\[|install .?videokd")
    assert not [_name(path) for path in paths if pattern.search(path.read_text(encoding="utf-8"))]
