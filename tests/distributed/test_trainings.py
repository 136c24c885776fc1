"""Two processes are one: losses, weights, statistics, stops and what is sent."""

import json
from pathlib import Path

import pytest
import torch

from videokd.engine.meters import MEASURED


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


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [
        ("tiny", 1e-6),
        # A transformer: no norm over the batch. Two datasets, of which one is taught.
        pytest.param("classify", 1e-6, marks=pytest.mark.slow),
        pytest.param("student", 1e-6, marks=pytest.mark.slow),
        # Batch norm of few values amplifies rounding; in float64, see checks.py, it is exact.
        pytest.param("sync_bn", 1e-3, marks=pytest.mark.slow),
    ],
)
def test_two_processes_give_the_losses_and_weights_of_one(run_ranks, tmp_path, kind, tolerance):
    assert run_ranks(1, kind, tmp_path / "one").codes == [0]
    ended = run_ranks(2, kind, tmp_path / "two")
    assert ended.codes == [0, 0], ended.texts
    assert_close(tmp_path / "two", tmp_path / "one", tolerance)
    bad = [(tmp_path / name / "bad_videos.csv").read_text() for name in ("one", "two")]
    assert bad[0] == bad[1]
    assert len(bad[0].splitlines()) == 7


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_training_goes_on_with_another_number_of_processes(run_ranks, tmp_path, before, after):
    assert run_ranks(1, "tiny", tmp_path / "one").codes == [0]
    # The signal comes to the last rank only.
    stopped = run_ranks(before, "tiny", tmp_path / "two", "SIGUSR1", before - 1, 3)
    assert stopped.codes == [75] * before, stopped.texts
    assert run_ranks(after, "tiny", tmp_path / "two").codes == [0] * after
    assert_close(tmp_path / "two", tmp_path / "one", 1e-6)


def test_what_ranks_share_and_decide(run_ranks):
    ended = run_ranks(2, program="checks.py")
    assert ended.codes == [0, 0], ended.texts
    assert all(text.endswith("all hold\n") for text in ended.texts)
