"""README and the other pages: their links, their commands and the configs that they name."""

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from videokd import __version__
from videokd.cli.main import COMMANDS
from videokd.config import load_config

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CONFIG_FILES = sorted((ROOT / "configs").rglob("*.yaml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# Script in tools/ -> command of `videokd`.
TOOLS = {
    "train_net": "train",
    "test_net": "test",
    "predict": "predict",
    "export_student": "export",
    "prepare_data": "prepare",
    "run_study": "study",
    "report": "report",
}
COMMAND = re.compile(r"(?:python tools/(\w+)\.py|torchrun .*?tools/(\w+)\.py|videokd) +(.*)")


def _name(path):
    return path.relative_to(ROOT).as_posix()


def _lines(page):
    """Return the lines of a page, those that end in a backslash joined with the next one."""
    return page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()


def _commands(page):
    """Yield (line, command of videokd, its words) for each command line that a page shows."""
    for line in _lines(page):
        match = COMMAND.fullmatch(line.strip().removeprefix("$ "))
        if match:
            script = match[1] or match[2]
            command = match[3].split()[0] if script is None else TOOLS.get(script)
            if command in COMMANDS:
                words = shlex.split(match[3], comments=True)
                yield line, command, words[script is None :]


class _ParsedError(Exception):
    """Raised in place of the work that follows the parsing of arguments."""


@pytest.fixture
def parse(monkeypatch):
    """parse(command, words): the arguments of a command as its own parser reads them."""

    def stopping(method):
        def parse_and_stop(self, args=None, namespace=None):
            raise _ParsedError(method(self, args, namespace))

        return parse_and_stop

    for name in ("parse_args", "parse_intermixed_args"):
        method = getattr(argparse.ArgumentParser, name)
        monkeypatch.setattr(argparse.ArgumentParser, name, stopping(method))

    def run(command, words):
        try:
            import_module(COMMANDS[command][0]).main(words)
        except _ParsedError as parsed:
            return parsed.args[0]
        raise AssertionError(f"{command} parses no arguments")

    return run


def test_links_lead_to_files_and_headings():
    broken = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.S)):
            path, _, heading = target.partition("#")
            if "://" in path or path.startswith("mailto:"):
                continue
            file = page.parent / path if path else page
            if not file.exists():
                broken.append(f"{_name(page)}: {target}")
            elif heading and heading not in _anchors(file):
                broken.append(f"{_name(page)}: no heading {target}")
    assert broken == []


def _anchors(page):
    headings = re.findall(r"^#+ +(.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_paths_of_source_files_exist():
    pattern = re.compile(r"`((?:videokd|tools|tests|configs|docs)/[\w/.-]+\.(?:py|yaml|md|sh))`")
    assert [
        f"{_name(page)}: {path}"
        for page in PAGES
        if page.name != "CHANGELOG.md"
        for path in pattern.findall(page.read_text(encoding="utf-8"))
        if not (ROOT / path).exists()
    ] == []


def test_commands_of_the_pages_are_understood(parse, capsys):
    wrong, count = [], 0
    for page in PAGES:
        for line, command, words in _commands(page):
            count += 1
            try:
                args = parse(command, words)
            except SystemExit:
                wrong.append(f"{_name(page)}: {line.strip()}: {capsys.readouterr().err}")
                continue
            config = getattr(args, "config_file", None)
            if config is not None and config.parts[0] == "configs":
                load_config(ROOT / config, [*args.overrides, *getattr(args, "opts", [])])
    assert wrong == []
    assert count > 10


def test_every_make_target_of_pages_and_ci_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, flags=re.M))
    named = {
        target
        for page in (*PAGES, *WORKFLOWS, ROOT / ".ci" / "run")
        for target in re.findall(
            r"(?:^|`|run: )make ([\w-]+)", page.read_text(encoding="utf-8"), re.M
        )
    }
    assert named <= targets
    assert {"demo", "test"} <= named


@pytest.mark.parametrize("path", CONFIG_FILES, ids=_name)
def test_every_config_loads_and_opens_with_its_command(path):
    load_config(path)
    first_lines = path.read_text(encoding="utf-8").splitlines()[:5]
    assert first_lines[0].startswith("#")
    assert any(f"--config-file {_name(path)}" in line for line in first_lines)


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / ".pre-commit-config.yaml"], ids=_name)
def test_workflows_and_hooks_are_yaml(path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_the_version_is_stated_once():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f"\n## {__version__}" in changelog
    assert citation["version"] == __version__


def test_nobody_is_sent_to_a_name_on_pypi():
    paths = [
        *(*PAGES, *CONFIG_FILES, ROOT / "Makefile"),
        *(path for folder in ("videokd", "tools") for path in (ROOT / folder).rglob("*.py")),
    ]
    pattern = re.compile(r"videokd\[|install .?videokd")
    assert [_name(path) for path in paths if pattern.search(path.read_text("utf-8"))] == []
