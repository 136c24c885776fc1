"""Targets of the Makefile that delete or list files."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
OWN = ("data/kinetics400/a.mp4", "runs/mine/config.yaml", ".venv/bin/python", "videokd/a.py")
DEMO = ("data/demo/a.avi", "runs/demo/config.yaml")
MADE = (
    *("build/x", "videokd.egg-info/x", ".mypy_cache/x", ".pytest_cache/x"),
    "videokd/__pycache__/a.pyc",
)

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def make(tmp_path):
    """make(*targets): what it printed, and the files that are left of a checkout."""
    shutil.copy(MAKEFILE, tmp_path)
    for name in (*OWN, *DEMO, *MADE, "tests/a.py", "tools/a.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def run(*targets):
        words = ["make", "-C", tmp_path, *targets]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        left = {
            path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
        }
        return done.stdout, left

    return run


def test_clean_leaves_data_results_and_the_environment(make):
    _, left = make("clean")
    assert left >= {*OWN, *DEMO}
    assert not left & set(MADE)


def test_clean_demo_deletes_the_demo_alone(make):
    _, left = make("clean-demo")
    assert left >= {*OWN, *MADE}
    assert not left & set(DEMO)


def test_the_fast_tests_exist():
    text = MAKEFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    paths = re.search(r"^FAST := (.*)$", text, flags=re.M)[1].split()
    assert len(paths) > 10
    assert [path for path in paths if not (MAKEFILE.parent / path).exists()] == []


def test_without_a_target_the_targets_are_listed(make):
    text, left = make()
    assert left >= {*OWN, *DEMO, *MADE}
    for target in ("demo", "test-fast", "test", "clean", "clean-demo"):
        assert f"make {target} " in text
    assert "three experts" not in text
