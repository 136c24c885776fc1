"""Paths on the command line: ``~`` and variables, which a shell leaves alone behind ``=``."""

import importlib.util
import sys
from pathlib import Path

import pytest

from videokd.cli.common import run_tool

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch, capsys):
    """tool(name, *words): run a tool as its command line does; its code, and what it wrote."""

    def run(name, *words):
        spec = importlib.util.spec_from_file_location(f"{name}_tool", TOOLS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        with pytest.raises(SystemExit, match=r"^[012]$") as caught:
            run_tool(module.main)
        written = capsys.readouterr()
        return caught.value.code, written.out, written.err

    return run


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me").mkdir()
    return tmp_path / "me"


@pytest.mark.parametrize(
    ("name", "words", "part"),
    [
        ("report", ["~/run"], "{home}/run is not a run directory"),
        ("export_student", ["--run=~/run", "--dataset=A", "--output=x"], "{home}/run is not a run"),
        ("predict", ["--model=~/model", "a.mp4"], "{home}/model"),
        ("prepare_data", ["check", "--root=~/videos", "--output=~/x"], "{home}/videos"),
        ("prepare_data", ["index", "--cfg=~/c.yaml", "--output=~/x"], "{home}/c.yaml"),
        ("prepare_data", ["convert", "--input=~/videos", "--output=~/x"], "{home}/videos"),
        ("prepare_data", ["count", "--format=folder", "--root=~/videos"], "{home}/videos"),
        ("prepare_data", ["preview", "--cfg=~/c.yaml", "--output=~/x.png"], "{home}/c.yaml"),
        ("train_net", ["--cfg=~/c.yaml"], "{home}/c.yaml cannot be read"),
        ("test_net", ["--cfg=~/c.yaml", "--model=joint"], "{home}/c.yaml cannot be read"),
        ("run_study", ["--cfg=~/c.yaml", "--seeds", "0"], "{home}/c.yaml cannot be read"),
    ],
)
def test_the_home_folder_is_found(tool, home, name, words, part):
    code, _, errors = tool(name, *words)
    assert code != 0
    assert part.format(home=home) in errors
    assert not list(home.parent.glob("~*"))


def test_a_variable_that_is_not_set_is_named(tool, home, monkeypatch):
    monkeypatch.delenv("NO_DISK", raising=False)
    code, _, errors = tool("prepare_data", "demo", "--output=$NO_DISK/demo")
    assert code == 2
    assert "argument --output: path '$NO_DISK/demo': the environment variable 'NO_DISK'" in errors
