import numpy as np
import pytest

from videokd.study.comparisons import Outcome, compare_all, read_outcomes
from videokd.study.finished import Finished
from videokd.study.significance import holm, mcnemar, paired_permutation_test
from videokd.study.study import Variant
from videokd.utils.errors import InputError


def _variant(name, group="main", seeds=(0, 1), against="a"):
    return Variant(name, name, group, "", "students", against, (), seeds)


def _outcome(right, videos=None, groups=None):
    is_right = np.array([letter == "1" for letter in right])
    videos = tuple(videos or (f"v{i}" for i in range(len(right))))
    return Outcome(is_right, videos, tuple(groups or videos))


def _read(study, split):
    return read_outcomes(study, split, study.collect(Finished(), split))


def _by_dataset(comparisons, b):
    return {c.dataset: c for c in comparisons if c.b == b}


def test_the_mean_is_of_datasets_and_its_p_values_are_of_all_videos():
    outcomes = {
        ("a", 0): {"X": _outcome("1111"), "Y": _outcome("11111000")},
        ("a", 1): {"X": _outcome("1110"), "Y": _outcome("11110000")},
        ("b", 0): {"X": _outcome("1000"), "Y": _outcome("11100000")},
        ("b", 1): {"X": _outcome("1100"), "Y": _outcome("00110000")},
    }
    found = _by_dataset(compare_all(outcomes, [_variant("a"), _variant("b")]), "b")
    # X: (3 + 1) of 8; Y: (2 + 2) of 16.
    differences = {name: c.difference for name, c in found.items()}
    assert differences == pytest.approx({"X": 50, "Y": 25, "mean": 37.5})
    pairs = [
        tuple(
            np.concatenate([outcomes[name, seed][d].is_right for d in ("X", "Y")]) for name in "ab"
        )
        for seed in (0, 1)
    ]
    assert found["mean"].mcnemar_p == mcnemar(pairs)
    assert found["mean"].permutation_p == paired_permutation_test(pairs, np.arange(12), seed=0)
    assert found["mean"].low_seeds <= found["mean"].low < 37.5 < found["mean"].high


def test_copies_of_one_scene_are_no_more_evidence_than_one_video():
    of_a, of_b = _outcome("1" * 8, groups="ppppqqqq"), _outcome("0" * 8, groups="ppppqqqq")
    outcomes = {("a", 0): {"X": of_a}, ("b", 0): {"X": of_b}}
    (found,) = compare_all(outcomes, [_variant("a"), _variant("b")])
    assert (found.difference, found.low, found.high) == (100, 100, 100)
    # Two groups that can be exchanged: 2 of 4 exchanges are as extreme.
    assert found.permutation_p == 0.5


def test_one_dataset_has_no_mean_and_one_seed_no_interval_over_seeds():
    outcomes = {("a", 0): {"X": _outcome("1110")}, ("b", 0): {"X": _outcome("1000")}}
    (found,) = compare_all(outcomes, [_variant("a"), _variant("b")])
    assert found.dataset == "X"
    assert (found.low_seeds, found.high_seeds) == (None, None)


def test_variants_are_compared_on_the_seeds_that_both_have():
    outcomes = {
        ("a", 0): {"X": _outcome("1111")},
        ("a", 1): {"X": _outcome("0000")},
        ("b", 1): {"X": _outcome("1000")},
    }
    variants = [_variant("a"), _variant("b"), _variant("c")]
    (found,) = compare_all(outcomes, variants)
    assert (found.b, found.seeds, found.difference) == ("b", (1,), -25)


def test_seeds_that_hold_out_other_videos_are_laid_end_to_end():
    outcomes = {
        ("a", 0): {"X": _outcome("11", "pq")},
        ("a", 1): {"X": _outcome("1111", "qrst")},
        ("b", 0): {"X": _outcome("00", "pq")},
        ("b", 1): {"X": _outcome("1100", "qrst")},
    }
    (found,) = compare_all(outcomes, [_variant("a"), _variant("b")])
    assert found.difference == pytest.approx(100 * 4 / 6)
    assert found.low_seeds is None
    # p, q, s and t differ; q, which both seeds hold out, is one group.
    assert found.permutation_p == 2 / 2**4


def test_holm_is_over_the_comparisons_of_one_group():
    rng = np.random.default_rng(0)
    variants = [_variant("a"), *(_variant(name, name[0]) for name in ("x1", "x2", "y1"))]
    outcomes = {
        (v.name, seed): {d: _outcome(rng.choice(["0", "1"], 30)) for d in ("X", "Y")}
        for v in variants
        for seed in (0, 1)
    }
    found = compare_all(outcomes, variants)
    for group, count in (("x", 6), ("y", 3)):
        family = [c for c in found if c.group == group]
        assert len(family) == count
        adjusted = holm([c.permutation_p for c in family])
        assert [c.holm_p for c in family] == adjusted.tolist()


def test_a_variant_is_compared_with_the_one_that_it_is_set_against():
    variants = [
        _variant("a"),
        _variant("b"),
        _variant("c", against="b"),
        _variant("d", against="x"),
    ]
    outcomes = {(v.name, 0): {"X": _outcome(f"{n:04b}")} for n, v in enumerate(variants)}
    found = compare_all(outcomes, variants)
    assert [(c.a, c.b, c.difference) for c in found] == [("a", "b", -25), ("b", "c", 0)]


def test_variants_scored_on_other_videos_cannot_be_compared():
    outcomes = {("a", 0): {"X": _outcome("10")}, ("b", 0): {"X": _outcome("10", "pq")}}
    with pytest.raises(InputError, match="X: a and b are scored on different videos"):
        compare_all(outcomes, [_variant("a"), _variant("b")])


def test_an_outcome_has_correct_videos_and_groups_of_near_copies(plan_study, score):
    study = plan_study({"a": {"ROW": "experts"}})
    score(study, "a", "test", right=3)
    outcomes = _read(study, "test")
    of_ucf, of_hmdb = (outcomes["a", 0][name] for name in ("UCF", "HMDB"))
    assert of_ucf.is_right.tolist() == [True] * 3 + [False] * (len(of_ucf.is_right) - 3)
    assert of_ucf.top1 == pytest.approx(100 * 3 / len(of_ucf.videos))
    # Class, and the group that the name tells.
    assert of_ucf.groups[:3] == ("0/g01", "0/g02", "1/g01")
    assert of_hmdb.groups[0] == "0/Clip#1_0"


def test_held_out_and_test_videos_are_other_outcomes(plan_study, score):
    study = plan_study({"a": {"ROW": "experts"}})
    score(study, "a", "val", right=2)
    assert _read(study, "test") == {}
    score(study, "a", "test", right=4)
    held_out, tested = (_read(study, split)["a", 0]["UCF"] for split in ("val", "test"))
    assert (held_out.is_right.sum(), tested.is_right.sum()) == (2, 4)
    assert not set(held_out.videos) & set(tested.videos)


def test_a_variant_that_is_not_scored_on_all_datasets_has_no_outcome(plan_study, score):
    other = {"ROW": "experts", "OPTS": ["SOLVER.BETA2", 0.9]}
    study = plan_study({"a": {"ROW": "experts"}, "b": other})
    score(study, "a", "test", right=3)
    score(study, "b", "test", right=3)
    run = study.runs["b", 0]
    (run.plan.path(run.plan.row("experts")["HMDB"]) / "test" / "HMDB.json").unlink()
    assert list(_read(study, "test")) == [("a", 0)]
