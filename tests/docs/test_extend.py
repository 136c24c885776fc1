"""docs/extend.md, followed to the letter in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from videokd.utils.io import read_json

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extend.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORDS = (
    *("JOINT.LEVELS", "['stage1', 'stage2']", "JOINT.TOPOLOGY", "mean"),
    *("DISTILL.FEATURE_LOSS.NAME", "charbonnier", "DISTILL.FEATURE_LOSS.EPS", "0.01"),
    *("STUDENTS.UCF.ARCH", "tiny3d", "BASELINES", "['B8']", "SOLVER.MAX_EPOCH", "1"),
)


def follow(page, folder):
    """Write the files that a page shows, and make the changes that it shows."""
    for kind, code in BLOCK.findall(page):
        name, _, rest = code.partition("\n")
        path = folder / name.split()[1]
        if kind == "python":
            assert not path.exists()
            path.write_text(rest)
        elif kind == "diff":
            lines = rest.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] in " -")
            after = "".join(line[1:] for line in lines if line[0] in " +")
            source = path.read_text()
            assert source.count(before) == 1
            path.write_text(source.replace(before, after))


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(
        ROOT / "videokd", tmp_path / "copy" / "videokd", ignore=shutil.ignore_patterns("*.pyc")
    )
    return tmp_path / "copy"


def run(copy, *words):
    code = "import sys; from videokd.cli.main import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=copy,  # the first entry of the search path
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_experiment_trains_with_all_that_was_added(copy, write_config):
    follow(PAGE.read_text(encoding="utf-8"), copy)
    config = write_config(datasets=("UCF", "HMDB"))
    done = run(copy, "train", "--config-file", config, *WORDS)
    assert done.returncode == 0, done.stderr
    folder = config.parent / "run"
    rows = {model["key"]: model for model in read_json(folder / "results.json")["models"]}
    assert list(rows) == ["experts", "B8", "joint", "students"]
    assert rows["B8"]["title"] == "B8 born again"
    log = (folder / "students" / "UCF" / "metrics.jsonl").read_text()
    assert "feat_stage1" in log
    assert "feat_stage2" in log
    source = (folder / "export" / "UCF" / "architecture.py").read_text()
    assert "A network of two convolutions" in source


def test_nothing_of_it_is_there_before(copy, write_config):
    config = write_config(datasets=("UCF", "HMDB"))
    done = run(copy, "train", "--config-file", config, "JOINT.TOPOLOGY", "mean", "--dry-run")
    assert done.returncode == 2
    assert "JOINT.TOPOLOGY must be one of pyramid, trunk; got 'mean'" in done.stderr
