"""A rank that dies or hangs ends the job within a limit, and nothing that was saved is lost."""

import json
import random
from pathlib import Path

import pytest

from videokd.engine.meters import MEASURED

TIMEOUT_SEC = 6

# What strikes -> the stricken rank's exit code; None where only its launcher can end it.
DEATHS = {"SIGKILL": -9, "SIGSEGV": -11, "exit": 3, "raise": 1}
HANGS = {"SIGSTOP": None, "sleep": 1, "hold_lock": 1}
IN_CI = ("SIGKILL", 1)
CASES = [
    pytest.param(
        *(fault, rank, random.Random(f"{fault} {rank}").randrange(1, 6)),
        marks=[] if (fault, rank) == IN_CI else pytest.mark.faults,
    )
    for fault in (*DEATHS, *HANGS)
    for rank in (0, 1)
]


def read_lines(folder: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]


@pytest.mark.parametrize(("fault", "rank", "step"), CASES)
def test_a_lost_rank_ends_the_others_and_the_rest_is_bit_equal(
    run_ranks, tmp_path, pair, tell, fault, rank, step
):
    words = ("tiny", tmp_path, fault, rank, step)
    ended = run_ranks(2, *words, timeout_sec=TIMEOUT_SEC, grace_sec=8 * TIMEOUT_SEC)
    other = 1 - rank
    assert ended.codes[rank] == {**DEATHS, **HANGS}[fault], ended.texts
    assert ended.codes[other] == 1
    if fault in DEATHS:
        assert "error: another rank is gone, or did not answer in time" in ended.texts[other]
    else:
        said = f"error: rank {{}} of 2 stood still for {TIMEOUT_SEC} s"
        assert said.format(other) in ended.texts[other]
        assert "in train\n" in ended.texts[other]  # where it waited
    if fault == "sleep":
        assert said.format(rank) in ended.texts[rank]
    if fault == "hold_lock":  # told from C, which needs no lock
        assert f"Timeout (0:00:{2 * TIMEOUT_SEC:02d}" in ended.texts[rank]
    if fault in ("sleep", "hold_lock"):
        assert "in _strike\n" in ended.texts[rank]
    assert run_ranks(2, "tiny", tmp_path).codes == [0, 0]
    assert read_lines(tmp_path) == read_lines(pair[0])
    tell(f"{fault} of rank {rank} of 2 at step {step}: ended and resumed, {ended.seconds:.0f} s")
