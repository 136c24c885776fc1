from pathlib import Path

import numpy as np
import pytest

from videokd.report.results import Scored
from videokd.study.analysis.calibration import expected_calibration_error, negative_log_likelihood
from videokd.study.analysis.predictions import class_changes, inherited_errors, top1_agreement
from videokd.study.analysis.scores import (
    read_calibration,
    read_class_changes,
    read_inheritance,
)
from videokd.study.markdown import format_seeds

NUM_SEEDS = 2


@pytest.fixture
def make_scores():
    """``make_scores(num_classes, keys)``: random scores on two datasets and two seeds."""

    def make(num_classes=4, keys=("joint", "students", "B1")):
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(num_classes), 5)
        names = tuple(f"class {k}" for k in range(num_classes))
        paths = tuple(map(str, range(len(labels))))

        def score():
            logits = rng.normal(size=(len(labels), num_classes)) + np.eye(num_classes)[labels]
            probs = np.exp(logits)
            return Scored(names, probs / probs.sum(1, keepdims=True), labels, paths, Path())

        return {name: {k: [score() for _ in range(NUM_SEEDS)] for k in keys} for name in "DE"}

    return make


def table_of(section):
    """Return the cells of the section's table, row by row."""
    lines = [line for line in section.text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_inherited_errors_are_those_of_each_seeds_own_teacher(make_scores, tmp_path):
    scores = make_scores()
    section = read_inheritance(scores, tmp_path, remark=" A remark.")
    row = next(row for row in table_of(section) if row[:2] == ["E", "B1"])
    pairs = list(zip(scores["E"]["joint"], scores["E"]["B1"], strict=True))
    errors = [inherited_errors(t.probs, s.probs, t.labels) for t, s in pairs]
    assert row[2:] == [
        format_seeds(one.num_teacher_errors for one in errors),
        format_seeds(one.wrong for one in errors),
        format_seeds(one.same for one in errors),
        format_seeds(top1_agreement(t.probs, s.probs) for t, s in pairs),
    ]
    assert "has no share. A remark." in section.text


def test_a_teacher_without_errors_hands_none_down(make_scores, tmp_path):
    scores = make_scores(keys=("joint", "students"))
    for teacher in scores["D"]["joint"]:
        teacher.probs[:] = np.eye(4)[teacher.labels]
    rows = table_of(read_inheritance(scores, tmp_path, remark=""))
    assert rows[0][:5] == ["D", "student", "0.0 +- 0.0", "-", "-"]
    assert len(rows) == 2


def test_calibration_is_that_of_each_seed(make_scores, tmp_path):
    scores = make_scores()
    rows = table_of(read_calibration(scores, tmp_path))
    assert [row[:2] for row in rows] == [[d, k] for d in "DE" for k in ("T*", "student", "B1")]
    seeds = [(one.probs, one.labels) for one in scores["D"]["students"]]
    assert rows[1][2:] == [
        format_seeds(expected_calibration_error(*seed, num_bins=15) for seed in seeds),
        format_seeds((negative_log_likelihood(*seed) for seed in seeds), digits=3),
    ]


def test_class_changes_are_pooled_and_go_from_gains_to_losses(make_scores, tmp_path):
    scores = make_scores()
    rows = table_of(read_class_changes(scores, tmp_path))
    alone, student = (
        np.concatenate([one.probs for one in scores["D"][key]]) for key in ("B1", "students")
    )
    labels = np.tile(scores["D"]["B1"][0].labels, NUM_SEEDS)
    expected = {f"class {c.label}": c for c in class_changes(alone, student, labels)}
    own = [row for row in rows if row[0] == "D"]
    assert {row[1] for row in own} == set(expected)
    for _, name, num_videos, before, after, change in own:
        assert num_videos == "5"
        assert (before, after) == (f"{expected[name].before:.1f}", f"{expected[name].after:.1f}")
        assert change.split(" +- ")[0] == f"{expected[name].points:.1f}"
    points = [expected[row[1]].points for row in own]
    assert points == sorted(points, reverse=True)
    assert len(set(points)) > 1


def test_of_many_classes_the_largest_gains_and_losses_are_shown(make_scores, tmp_path):
    scores = make_scores(num_classes=40)
    changes = [
        float(row[5].split(" +- ")[0]) for row in table_of(read_class_changes(scores, tmp_path))
    ]
    alone, student = scores["D"]["B1"], scores["D"]["students"]
    per_seed = [
        [c.points for c in class_changes(a.probs, s.probs, a.labels)]
        for a, s in zip(alone, student, strict=True)
    ]
    ordered = sorted(np.mean(per_seed, axis=0), reverse=True)
    np.testing.assert_allclose(changes[:30], ordered[:15] + ordered[-15:])
    assert len(changes) == 60


def test_pictures_are_where_the_sections_say_and_small(make_scores, tmp_path):
    scores = make_scores(num_classes=101)
    sections = [
        read_inheritance(scores, tmp_path, remark=""),
        read_calibration(scores, tmp_path),
        read_class_changes(scores, tmp_path),
    ]
    named = [picture for section in sections for picture in section.pictures]
    assert sorted(named) == sorted(path.name for path in tmp_path.iterdir())
    assert all((tmp_path / name).stat().st_size < 150_000 for name in named)
