"""A whole experiment of the tools in two processes: what it leaves, and what it scores."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from videokd.utils.io import read_json

TRAIN_NET = Path(__file__).parents[2] / "tools" / "train_net.py"


def list_files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def run_tool(run_ranks):
    def run(num_ranks, config, folder, *words):
        ended = run_ranks(
            num_ranks, "--cfg", config, *words, "OUTPUT_DIR", folder, program=TRAIN_NET
        )
        assert ended.codes == [0] * num_ranks, ended.texts

    return run


@pytest.mark.ranks
def test_two_processes_leave_and_score_what_one_does(run_tool, write_config, tmp_path):
    config = write_config(("UCF", "HMDB"), SOLVER={"PRECISE_BN_BATCHES": 2, "EMA_DECAY": 0.9})
    one, two = tmp_path / "one", tmp_path / "two"
    run_tool(1, config, one)
    run_tool(2, config, two)
    # Which step was the best may differ, as rounding does; the last one leaves no file of its own.
    best = {str(Path(path).with_name("best.safetensors")) for path in list_files(one)}
    assert list_files(one) - best == list_files(two) - best

    # The models of one process, scored by two: the same bits.
    again = tmp_path / "again"
    shutil.copytree(one, again)
    scores = sorted(path.relative_to(one) for path in one.rglob("test/*.npz"))
    assert len(scores) == 12  # two of each: experts, joint teacher, students, B1, B2, B4
    for path in scores:
        (again / path).unlink()
        (again / path).with_suffix(".json").unlink()
    run_tool(2, config, again, "--eval-only")
    for path in scores:
        mine, theirs = np.load(again / path), np.load(one / path)
        assert mine.keys() == theirs.keys()
        for name in theirs:
            np.testing.assert_array_equal(mine[name], theirs[name])
        results = [read_json((folder / path).with_suffix(".json")) for folder in (again, one)]
        assert results[0] == results[1]
