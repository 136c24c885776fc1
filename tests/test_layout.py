"""Rules of the code base that a reader would otherwise have to remember, one test each."""

import ast
import gc
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "videokd"
# A package imports only packages before it.
LAYERS = [
    *("utils", "config", "synthetic", "data", "curation", "models", "fusion", "distill", "engine"),
    *("evaluation", "export", "report", "pipeline", "study", "cli"),
]
# (importing, imported): forbidden although the order of the layers allows it.
STRANGERS = {
    ("synthetic", "config"),
    ("models", "data"),
    ("engine", "models"),
    ("engine", "fusion"),
    ("engine", "distill"),
    ("report", "config"),
    *((layer, "curation") for layer in LAYERS if layer not in ("curation", "cli")),
}
# Rooms of data/, and what each may import of data/. The files beside them may import all rooms.
ROOMS = {
    "pool": (),
    "decode": (),
    "lists": ("decode.container", "decode.source"),
    "sampling": (),
    "augment": (),
}
PACKAGE_FILES = sorted(PACKAGE.rglob("*.py"))
TOOL_FILES = sorted((ROOT / "tools").rglob("*.py"))
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))
FILES = [*PACKAGE_FILES, *TOOL_FILES, *TEST_FILES]
MAX_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 350, 80, 8
MAX_SHORT_FILES, SHORT = 20, 40
# Class names that two files share. Shorten this list, never extend it.
SHARED_NAMES = {"ClipSpec", "Row", "BadVideo"}
RIDDLES = re.compile(r"(What|Which|How|Where|Those|Say|Tell|Give|Look)\b")
# Letters and digits in a row: a pattern that matches this text matches any message.
NO_MESSAGE = "abcdefghijklmnopqrstuvwxyz 0123456789"


@pytest.fixture(scope="module", autouse=True)
def no_garbage_collection():
    """Half a million nodes are kept; collecting again and again takes longer than the rules."""
    gc.disable()
    yield
    _read.cache_clear(), _nodes.cache_clear(), _imports.cache_clear()
    gc.enable()


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _nodes(path: Path) -> list[ast.AST]:
    """Return the module and every node below it; ``ast.walk`` takes twice as long."""
    nodes: list[ast.AST] = [ast.parse(_read(path))]
    for node in nodes:
        for value in vars(node).values():
            if isinstance(value, list):
                nodes += [child for child in value if isinstance(child, ast.AST)]
            elif isinstance(value, ast.AST):
                nodes.append(value)
    return nodes


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in _nodes(path) if isinstance(node, ast.FunctionDef))


@cache
def _imports(path: Path) -> list[str]:
    """Return the dotted names of all imported modules, those inside functions included."""
    names = []
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names]
    return names


def _imported_layers(path: Path) -> set[str]:
    parts = [name.split(".") for name in _imports(path)]
    return {p[1] for p in parts if p[0] == "videokd" and len(p) > 1 and p[1] in LAYERS}


def _may_know_the_config(path: Path) -> bool:
    return _layer(path) in ("config", "pipeline", "study", "cli") or path.name == "build.py"


def test_a_package_imports_only_packages_before_it():
    wrong = []
    for path in PACKAGE_FILES:
        layer = _layer(path)
        allowed = LAYERS[: LAYERS.index(layer) + 1] if layer in LAYERS else []
        for other in sorted(_imported_layers(path)):
            if other not in allowed or (layer, other) in STRANGERS:
                wrong.append(f"{_name(path)} imports {other}")
            elif other == "config" and not _may_know_the_config(path):
                wrong.append(f"{_name(path)} knows the config")
    assert wrong == []


def test_a_room_of_data_imports_only_the_rooms_named_here():
    assert [
        f"{_name(path)} imports {name}"
        for room, others in ROOMS.items()
        for path in PACKAGE_FILES
        if path.is_relative_to(PACKAGE / "data" / room)
        for name in _imports(path)
        if name.startswith("videokd.data.")
        and not name.startswith(tuple(f"videokd.data.{other}" for other in (room, *others)))
    ] == []


def test_imports_are_absolute():
    assert [
        f"{_name(path)} imports {name}"
        for path in FILES
        for name in _imports(path)
        if name.startswith(".")
    ] == []


def test_cfg_is_known_at_the_edges_only():
    inside = [path for path in PACKAGE_FILES if not _may_know_the_config(path)]
    assert [
        f"{_name(path)}:{getattr(node, 'lineno', 0)}"
        for path in inside
        for node in _nodes(path)
        if "cfg" in [getattr(node, field, None) for field in ("id", "arg", "attr")]
    ] == []
    assert [
        f"{_name(path)} imports {name}"
        for path in inside
        for name in _imports(path)
        if name.startswith(("fvcore.common.config", "yacs"))
    ] == []


def test_plain_networks_import_nothing_of_ours():
    # An export copies these files beside the weights, for machines without videokd.
    assert [
        f"{_name(path)} imports {name}"
        for path in PACKAGE_FILES
        if path.is_relative_to(PACKAGE / "models" / "plain")
        for name in _imports(path)
        if name.startswith("videokd")
    ] == []


def test_files_have_at_most_350_lines():
    lengths = {_name(path): len(_read(path).splitlines()) for path in FILES}
    longer = {name: length for name, length in lengths.items() if length > MAX_LINES}
    assert longer == {}


def test_few_files_are_short():
    short = [
        _name(path)
        for path in (*PACKAGE_FILES, *TOOL_FILES)
        if path.name != "__init__.py" and len(_read(path).splitlines()) < SHORT
    ]
    # The scripts in tools/ only call cli/.
    short = [name for name in short if not re.fullmatch(r"tools/\w+\.py", name)]
    assert len(short) <= MAX_SHORT_FILES, short


def test_functions_have_at_most_80_lines():
    assert [
        f"{_name(path)}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in FILES
        for node in _functions(path)
        if node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ] == []


def test_functions_have_at_most_8_parameters():
    wrong = []
    for path in PACKAGE_FILES:
        for node in _functions(path):
            arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            count = sum(argument.arg not in ("self", "cls") for argument in arguments)
            if count > MAX_PARAMETERS:
                wrong.append(f"{_name(path)}: {node.name} has {count} parameters")
    assert wrong == []


def test_the_package_does_not_print():
    assert [
        f"{_name(path)}:{node.lineno}"
        for path in PACKAGE_FILES
        if _layer(path) != "cli"
        for node in _nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ] == []


def test_public_names_have_docstrings_and_files_are_ascii():
    wrong = [f"{_name(path)} is not ASCII" for path in PACKAGE_FILES if not _read(path).isascii()]
    for path in PACKAGE_FILES:
        tree = _nodes(path)[0]
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        nodes = [tree]
        for body in (tree.body, *(c.body for c in classes if not c.name.startswith("_"))):
            named = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
            nodes += [node for node in named if not node.name.startswith("_")]
        wrong += [
            f"{_name(path)}: {getattr(node, 'name', 'module')} has no docstring"
            for node in nodes
            if not ast.get_docstring(node)
        ]
    assert wrong == []


def test_docstrings_begin_with_a_verb_of_the_field_or_a_noun():
    kinds = ast.Module | ast.FunctionDef | ast.ClassDef
    assert [
        f"{_name(path)}: {docstring.splitlines()[0]}"
        for path in (*PACKAGE_FILES, *TOOL_FILES)
        for node in _nodes(path)
        if isinstance(node, kinds) and RIDDLES.match(docstring := ast.get_docstring(node) or "")
    ] == []


def test_no_two_classes_share_a_name():
    count = Counter(
        node.name
        for path in PACKAGE_FILES
        for node in _nodes(path)
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name in count if count[name] > 1} <= SHARED_NAMES


def test_every_expected_error_is_checked_by_its_message():
    wrong = []
    for path in TEST_FILES:
        for node in _nodes(path):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("pytest.raises"):
                patterns = [k.value for k in node.keywords if k.arg == "match"]
                literals = [p.value for p in patterns if isinstance(p, ast.Constant)]
                if not patterns or any(re.search(p, NO_MESSAGE) for p in literals):
                    wrong.append(f"{_name(path)}:{node.lineno}")
    assert wrong == []


def test_no_two_tests_of_a_file_share_a_name():
    # pytest would run the last one only.
    wrong = []
    for path in TEST_FILES:
        tree = _nodes(path)[0]
        count = Counter(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
        wrong += [f"{_name(path)}: {name}" for name in count if count[name] > 1]
    assert wrong == []


def test_yaml_is_read_in_one_place():
    # Elsewhere the last of two equal keys would win without a word.
    assert {
        _name(path)
        for path in (*PACKAGE_FILES, *TOOL_FILES)
        for node in _nodes(path)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "yaml"
        and ("load" in node.attr.lower() or "compose" in node.attr)
    } == {"videokd/config/files.py"}


def test_every_path_on_a_command_line_is_expanded():
    # `--output=~/x` reaches a tool as it is; path_argument of cli/common.py expands it.
    assert [
        f"{_name(path)}:{node.value.lineno}"
        for path in (*PACKAGE_FILES, *TOOL_FILES)
        for node in _nodes(path)
        if isinstance(node, ast.keyword)
        and node.arg == "type"
        and isinstance(node.value, ast.Name)
        and node.value.id in ("Path", "expand_path")
    ] == []
