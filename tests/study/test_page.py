import math

import pytest

from videokd.study.markdown import Section, count_seeds, format_seeds, markdown_table
from videokd.study.page import keep_notes, make_page


def _row(mean, std=0.5):
    return {"top1_mean": mean, "top1_std": std, "top1": [mean], "num_videos": 8}


def _comparison(b, dataset, difference, *, holm_p=0.5, low_seeds=None):
    return {
        **{"a": "mlfd", "b": b, "dataset": dataset, "group": "main", "seeds": [0, 1]},
        **{"difference": difference, "low": -1.0, "high": 2.04, "low_seeds": low_seeds},
        **{"high_seeds": None if low_seeds is None else 3.0, "mcnemar_p": 0.0004},
        **{"permutation_p": 0.0123, "holm_p": holm_p},
    }


def _define(title, group, seeds=(0, 1)):
    opts = ["JOINT.LEVELS", [], "JOINT.WIDTH", 8] if group == "levels" else []
    row = "B1" if title == "alone" else "students"
    fields = {"title": title, "group": group, "row": row, "opts": opts, "curve": ""}
    return {**fields, "seeds": list(seeds)}


@pytest.fixture
def results():
    datasets = {
        name: {"num_classes": 8, "num_train": 9, "num_val": 3, "num_test": 4} for name in "XY"
    }
    log = {"steps": 40.0, "top1": 51.26, "agreement": 80.0, "feat": {"stage3": [1.5, 0.25]}}
    machine = {"cores": 2, "gpu": "none", "commit": "0123456789abc", "versions": {"torch": "2.9"}}
    return {
        "command": "python tools/run_study.py",
        "date": "2026-01-02",
        "seconds": {
            **{"wall": 60.0, "training": 7200.0},
            "by_kind": {"experts": {"num_trainings": 3, "seconds": 90.0}},
        },
        "environment": {**machine, "num_threads": 1, "num_workers": 0},
        "data": {
            **{"profile": "demo", "generator_version": 4, "generator_seed": 1},
            "datasets": datasets,
        },
        "seeds": [0, 1],
        "split": "test",
        "reference": "mlfd",
        "variants": {
            "mlfd": {"X": _row(61.04), "Y": _row(50.0), "mean": _row(55.52, 1.25)},
            "B1": {"X": _row(60.0), "Y": _row(40.0), "mean": _row(50.0)},
            "flat": {"X": _row(30.0, None), "Y": _row(20.0, None), "mean": _row(25.0, None)},
        },
        "definitions": {
            "mlfd": _define("MLFD", "main"),
            "B1": _define("alone", "main"),
            "flat": _define("no levels", "levels", [0]),
        },
        "cost": {
            name: {"clip_passes": passes, "minutes": 2.5, "parameters": 1234, "networks": 2}
            for name, passes in (("mlfd", 30_000), ("B1", 10_000), ("flat", 1000))
        },
        "comparisons": [
            _comparison("B1", "X", 1.04),
            _comparison("B1", "Y", 10.0, holm_p=0.01),
            _comparison("B1", "mean", 5.52, low_seeds=-2.0),
        ],
        "training": {"mlfd": log, "B1": {"steps": 40.0, "top1": 49.0, "feat": {}}},
        "missing": [],
        "settings": {"SEED": 3},
    }


def _cells(page, title):
    """Return the cells of all rows of the page that begin with a title."""
    lines = [line for line in page.splitlines() if line.startswith(f"| {title}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_accuracies_stand_in_the_table_of_their_group(results):
    page = make_page(results, [], name="demo")
    cost = ["2.5", "1,234", "2"]
    accuracies = ["61.0 +- 0.5", "50.0 +- 0.5", "55.5 +- 1.2"]
    assert _cells(page, "MLFD")[0] == ["MLFD", *accuracies, "30", *cost]
    few = _cells(page, "no levels")[0]
    assert few == ["no levels (seeds 0)", "30.0", "20.0", "25.0", "1", *cost]
    assert page.index("### main") < page.index("### levels") < page.index("## Differences")
    assert "Chance: X 12.5, Y 12.5" in page


def test_differences_carry_intervals_marks_and_p_values(results):
    page = make_page(results, [], name="demo")
    assert _cells(page, "alone")[1] == [
        *("alone", "+1.0 [-1.0, +2.0]", "+10.0 [-1.0, +2.0] *", "+5.5 [-1.0, +2.0]"),
        *("[-2.0, +3.0]", "< 0.001", "0.012", "0.500"),
    ]


def test_the_logs_say_how_the_students_were_taught(results):
    page = make_page(results, [], name="demo")
    assert ["MLFD", "40", "51.3", "80.0", "-", "stage3 1.5 -> 0.25"] in _cells(page, "MLFD")
    assert ["alone", "40", "49.0", "-", "-", "-"] in _cells(page, "alone")


def test_the_head_says_what_ran_where_on_what(results):
    head = make_page(results, [], name="demo").split("## Accuracy")[0]
    for text in (
        *("commit 0123456789: `python tools/run_study.py`", "2.0 h in all (3 x experts 1.5 min)"),
        *("2 cores, no GPU, torch 2.9", "profile demo, generator version 4, seed 1", "X 9 / 3 / 4"),
    ):
        assert text in head
    assert "Not finished" not in head


def test_what_is_missing_is_said_in_the_head(results):
    results["missing"] = [{"variant": "B2", "seed": 4}]
    assert "Not finished, in no number below: B2 seed 4." in make_page(results, [], name="demo")


def test_the_analysis_comes_after_the_training_with_its_pictures(results):
    sections = [Section("Calibration", "ECE is 3.", ("a.png",))]
    page = make_page(results, sections, name="demo")
    assert "## Calibration\n\n![Calibration](demo/a.png)\n\nECE is 3." in page
    assert page.index("## Training") < page.index("## Calibration") < page.index("## Variants")


def test_notes_are_kept_after_the_main_table(results):
    first = make_page(results, [], name="demo")
    noted = first.replace("<!-- notes -->\n", "<!-- notes -->\nIt holds.\n\n| a | b |\n")
    results["variants"]["mlfd"]["X"] = _row(12.0)
    second = make_page(results, [], name="demo", old_page=noted)
    assert "<!-- notes -->\nIt holds.\n\n| a | b |\n<!-- /notes -->" in second
    assert second.index("### main") < second.index("It holds.") < second.index("### levels")
    assert second.count("<!-- notes -->") == 1
    assert "12.0 +- 0.5" in second


@pytest.mark.parametrize("page", ["", "<!-- notes -->", "<!-- /notes --> a <!-- notes -->"])
def test_a_page_without_notes_gets_room_for_them(page):
    assert keep_notes(page) == "<!-- notes -->\n<!-- /notes -->"


def test_without_its_reference_a_study_has_no_differences(results):
    for key in ("variants", "definitions", "training"):
        results[key].pop("mlfd")
    results["comparisons"] = []
    page = make_page(results, [], name="demo")
    assert "None: the reference, mlfd, is not among the variants." in page


def test_a_difference_from_another_variant_than_the_first_is_named(results):
    definition = _define("no levels, alone", "levels")
    results["definitions"]["flat_alone"] = definition
    for key in ("variants", "cost", "training"):
        results[key]["flat_alone"] = results[key]["B1"]
    comparison = _comparison("flat_alone", "mean", 3.0) | {"a": "flat"}
    results["comparisons"].append(comparison)
    page = make_page(results, [], name="demo")
    assert "| no levels - no levels, alone | - | - | +3.0 [" in page


def test_the_changed_settings_are_listed(results):
    page = make_page(results, [], name="demo")
    assert "- `SEED: 3`" in page
    assert "| flat | no levels | students | `JOINT.LEVELS []`, `JOINT.WIDTH 8` |" in page


NAN = math.nan


@pytest.mark.parametrize(
    ("values", "digits", "expected"),
    [
        ([1.0, 2.0, 6.0], 1, "3.0 +- 2.6"),  # variance (4 + 1 + 9) / 2
        ([0.125], 2, "0.12"),
        ([NAN, 3.0, 5.0], 1, "4.0 +- 1.4"),
        ([NAN, 3.0], 1, "3.0"),
        ([NAN, NAN], 1, "-"),
    ],
)
def test_seeds_have_mean_and_sample_deviation(values, digits, expected):
    assert format_seeds(values, digits=digits) == expected


def test_columns_of_numbers_are_aligned_right_and_bars_in_names_escaped():
    table = markdown_table(("dataset", "class", "top-1"), [("A", "a|b", "1.0")], num_names=2)
    assert table.splitlines() == [
        "| dataset | class | top-1 |",
        "| --- | --- | ---: |",
        r"| A | a\|b | 1.0 |",
    ]


def test_one_seed_is_not_plural():
    assert [count_seeds(1), count_seeds(3)] == ["1 seed", "3 seeds"]
