from pathlib import Path

import pytest

from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.study.outcomes import find_groups, read_outcomes


def test_outcomes_say_what_is_right_and_which_videos_are_copies(plan_study, score):
    study = plan_study({"a": {"ROW": "experts"}})
    score(study, "a", "test", right=3)
    outcomes = read_outcomes(study, "test")
    of_ucf, of_hmdb = (outcomes["a", 0][name] for name in ("UCF", "HMDB"))
    assert of_ucf.is_right.tolist() == [True] * 3 + [False] * (len(of_ucf.is_right) - 3)
    assert of_ucf.top1 == pytest.approx(100 * 3 / len(of_ucf.videos))
    # Class and group in the UCF101 layout; the videos of others are their own.
    assert of_ucf.groups[:3] == ("0/g01", "0/g02", "1/g01")
    assert of_hmdb.groups == of_hmdb.videos


def test_held_out_and_test_videos_are_other_outcomes(plan_study, score):
    study = plan_study({"a": {"ROW": "experts"}})
    score(study, "a", "val", right=2)
    assert read_outcomes(study, "test") == {}
    score(study, "a", "test", right=4)
    held_out, tested = (read_outcomes(study, split)["a", 0]["UCF"] for split in ("val", "test"))
    assert (held_out.is_right.sum(), tested.is_right.sum()) == (2, 4)
    assert not set(held_out.videos) & set(tested.videos)


def test_a_variant_that_is_not_scored_on_all_datasets_has_no_outcome(plan_study, score):
    other = {"ROW": "experts", "OPTS": ["SOLVER.BETA2", 0.9]}
    study = plan_study({"a": {"ROW": "experts"}, "b": other})
    score(study, "a", "test", right=3)
    score(study, "b", "test", right=3)
    run = study.runs["b", 0]
    (run.plan.path(run.plan.row("experts")["HMDB"]) / "test" / "HMDB.json").unlink()
    assert list(read_outcomes(study, "test")) == [("a", 0)]


def test_a_group_is_of_one_class():
    rows = [("a", 0, "g1"), ("b", 0, "g1"), ("c", 1, "g1"), ("d", 0, "g2")]
    records = tuple(VideoRecord(path, label, "X", group) for path, label, group in rows)
    index = VideoIndex(records, ("run", "sit"), Path("videos"), "X", "test")
    grouped = find_groups(index, has_groups=True)
    assert grouped == {"a": "0/g1", "b": "0/g1", "c": "1/g1", "d": "0/g2"}
    assert find_groups(index, has_groups=False) == {path: path for path in "abcd"}
