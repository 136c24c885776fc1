"""Two processes are one: losses, weights, statistics, stops and what is sent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from videokd.engine.meters import MEASURED

FOLDER = Path(__file__).parent


def read_lines(folder: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]


def assert_close(folder: Path, other: Path, tolerance: float) -> None:
    lines, theirs = read_lines(folder), read_lines(other)
    assert [line.keys() for line in lines] == [line.keys() for line in theirs]
    assert len(lines) == 5
    for line, their in zip(lines, theirs, strict=True):
        assert line == pytest.approx(their, rel=tolerance, abs=tolerance)
    weights, expected = torch.load(folder / "final.pt"), torch.load(other / "final.pt")
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def alone(run_ranks, tmp_path_factory):
    """``alone(kind)``: the folder of a training of one process."""
    folders = {}

    def train(kind):
        if kind not in folders:
            folders[kind] = tmp_path_factory.mktemp(kind)
            assert run_ranks(1, kind, folders[kind]).codes == [0]
        return folders[kind]

    return train


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [
        ("tiny", 1e-6),
        # In float64, see program.py. A transformer, two datasets.
        pytest.param("classify", 1e-12, marks=pytest.mark.ranks),
        # One of the two is taught, in several parts.
        pytest.param("student", 1e-12, marks=pytest.mark.ranks),
        pytest.param("sync_bn", 1e-12, marks=pytest.mark.ranks),
    ],
)
def test_two_processes_give_the_losses_and_weights_of_one(
    run_ranks, alone, pair, tmp_path, kind, tolerance
):
    folder, ended = pair if kind == "tiny" else (tmp_path, run_ranks(2, kind, tmp_path))
    assert ended.codes == [0, 0], ended.texts
    assert_close(folder, alone(kind), tolerance)
    mine, theirs = (
        sorted((path / "bad_videos.csv").read_text().splitlines()) for path in (folder, alone(kind))
    )
    assert mine == theirs
    assert len(mine) == 7


@pytest.mark.parametrize(("before", "after"), [(2, 1), pytest.param(1, 2, marks=pytest.mark.ranks)])
def test_a_training_goes_on_with_another_number_of_processes(
    run_ranks, alone, tmp_path, before, after
):
    # The signal comes to the last rank only.
    stopped = run_ranks(before, "tiny", tmp_path, "SIGUSR1", before - 1, 3)
    assert stopped.codes == [75] * before, stopped.texts
    ended = run_ranks(after, "tiny", tmp_path)
    assert ended.codes == [0] * after, ended.texts
    assert_close(tmp_path, alone("tiny"), 1e-6)


@pytest.mark.ranks
def test_what_is_not_finite_on_one_rank_is_skipped_by_all(run_ranks, tmp_path):
    expected = run_ranks(1, "tiny", tmp_path / "one", "nan1", 0, 3)
    assert expected.codes == [0], expected.texts
    ended = run_ranks(2, "tiny", tmp_path / "two", "nan1", 1, 3)
    assert ended.codes == [0, 0], ended.texts
    assert all("the loss is nan at step 3" in text for text in ended.texts)
    assert read_lines(tmp_path / "two")[-2]["skipped_steps"] == 1
    assert_close(tmp_path / "two", tmp_path / "one", 1e-6)


@pytest.mark.ranks
def test_all_ranks_stop_when_one_has_too_many_steps_that_are_not_finite(run_ranks, tmp_path):
    ended = run_ranks(2, "tiny", tmp_path, "nan2", 1, 3)
    assert ended.codes == [1, 1], ended.texts
    message = "2 steps in a row, the last: the loss is nan at step 4"
    assert all(message in text for text in ended.texts)


@pytest.mark.ranks
def test_torchrun_starts_all_ranks_again_when_one_is_lost(alone, tmp_path):
    words = ["--standalone", "--nproc-per-node=2", "--max-restarts=1", FOLDER / "program.py"]
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, "tiny", tmp_path]
        + ["SIGKILL", "1", "3"],
        env={**os.environ, "PYTHONPATH": str(FOLDER.parents[1])},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr
    assert "exitcode: -9" in ended.stderr
    assert_close(tmp_path, alone("tiny"), 1e-6)


def test_what_ranks_share_and_decide(run_ranks):
    ended = run_ranks(2, program="checks.py")
    assert ended.codes == [0, 0], ended.texts
    assert all(text.endswith("all hold\n") for text in ended.texts)
