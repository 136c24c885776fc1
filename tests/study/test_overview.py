import pytest
from PIL import Image

from videokd.study import overview
from videokd.study.overview import (
    curve_table,
    curves,
    draw_curves,
    draw_forest,
    interval,
    main_differences,
    sentences,
)


def _comparison(b, difference, low, high, *, low_seeds=None, high_seeds=None, dataset="mean"):
    return {
        **{"a": "mlfd", "b": b, "dataset": dataset, "difference": difference},
        **{"low": low, "high": high, "low_seeds": low_seeds, "high_seeds": high_seeds},
        "seeds": [0] if low_seeds is None else [0, 1, 2],
    }


def _define(title, row, *, group="main", curve=""):
    return {"title": title, "row": row, "group": group, "curve": curve}


@pytest.fixture
def results():
    passes = {"mlfd": 60, "long": 20, "joint": 60, "tuned": 30, "own": 40, "other": 5}
    means = {name: {"top1_mean": 50.0, "top1_std": 1.5} for name in passes}
    means["other"] = {"top1_mean": 40.0, "top1_std": None}
    return {
        "reference": "mlfd",
        "data": {"datasets": {"X": {}, "Y": {}}},
        "definitions": {
            "mlfd": _define("MLFD", "students", curve="MLFD"),
            "long": _define("alone", "B1x"),
            "joint": _define("joint", "B2C"),
            "tuned": _define("tuned", "B2F"),
            "own": _define("own", "B4F"),
            "other": _define("half", "students", group="levels", curve="MLFD"),
        },
        "variants": {name: {"mean": mean} for name, mean in means.items()},
        "cost": {name: {"clip_passes": 1000 * count} for name, count in passes.items()},
        "comparisons": [
            _comparison("long", 4.0, 3.0, 5.0, low_seeds=2.5, high_seeds=5.5),
            _comparison("long", 9.0, 8.0, 10.0, dataset="X"),
            _comparison("joint", 2.0, -1.0, 5.0),
            _comparison("tuned", -1.25, -2.0, -0.5),
            _comparison("own", 0.4, -1.0, 2.0),
            _comparison("other", 10.0, 9.0, 11.0),
        ],
    }


def test_sentences_state_difference_interval_and_cost(results):
    assert sentences(results) == [
        "MLFD is 4.0 points better than alone (95 % interval +2.5 to +5.5 over videos and 3 seeds)"
        ", at 3.0 times its clip passes.",
        # The stronger of two jointly trained rivals.
        "MLFD is 1.2 points worse than tuned (95 % interval -2.0 to -0.5 over videos, one seed), "
        "at 2.0 times its clip passes.",
        "MLFD differs by +0.4 points, which is not clear, from own (95 % interval -1.0 to +2.0 "
        "over videos, one seed), at 1.5 times its clip passes.",
    ]


def test_the_interval_over_seeds_counts_where_there_are_several(results):
    main = main_differences(results)
    assert [comparison["b"] for comparison in main] == ["long", "joint", "tuned", "own"]
    assert [interval(comparison) for comparison in main[:2]] == [(2.5, 5.5), (-1.0, 5.0)]


def test_curves_are_sorted_by_cost(results, tmp_path):
    assert curves(results) == {"MLFD": ["other", "mlfd"]}
    lines = curve_table(results).splitlines()
    assert lines[2:] == ["| MLFD | half | 5 | 40.0 |", "| MLFD | MLFD | 60 | 50.0 +- 1.5 |"]
    assert draw_curves(tmp_path / "curves.png", results)
    results["definitions"] = {n: {**d, "curve": ""} for n, d in results["definitions"].items()}
    assert not draw_curves(tmp_path / "none.png", results)
    assert not (tmp_path / "none.png").exists()


def test_the_forest_plot_has_a_row_per_main_variant(results, tmp_path):
    heights = []
    for number in (1, 4):
        some = {**results, "comparisons": results["comparisons"][: number + 1]}
        path = tmp_path / f"{number}.png"
        assert draw_forest(path, some)
        with Image.open(path) as image:
            heights.append(image.height)
    assert heights[0] < heights[1]
    assert not draw_forest(tmp_path / "none.png", {**results, "comparisons": []})


@pytest.fixture
def drawn(monkeypatch):
    """List of the figures that are saved instead of written."""
    figures = []
    monkeypatch.setattr(overview, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def test_rows_of_the_forest_plot_name_the_ratio_of_cost(results, drawn, tmp_path):
    results["cost"]["own"]["clip_passes"] = 0  # used as loaded
    draw_forest(tmp_path / "forest.png", results)
    (axis,) = drawn[0].axes
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["alone (x 3.0)", "joint (x 1.0)", "tuned (x 2.0)", "own"]
    # Whisker of three seeds and of one, each with its point, then the zero line.
    lines = [list(line.get_xdata()) for line in axis.lines]
    assert lines[:4] == [[2.5, 5.5], [4.0], [-1.0, 5.0], [2.0]]
    assert lines[-1] == [0, 0]


def test_every_curve_is_drawn_however_many_there_are(results, drawn, tmp_path):
    for name in results["definitions"]:
        for number in range(2):
            copy = f"{name}{number}"
            for part in ("cost", "variants"):
                results[part][copy] = results[part][name]
    names = [name for name in results["cost"] if name[-1] in "01"]
    results["definitions"] = {n: _define(n, "students", curve=f"curve {n}") for n in names}
    draw_curves(tmp_path / "curves.png", results)
    (axis,) = drawn[0].axes
    assert len(axis.get_legend().get_texts()) == len(names) == 12
    # No formula, which the style of the pictures would show as its source.
    assert [axis.xaxis.get_major_formatter()(x) for x in (0.5, 20.0, 5000.0)] == [
        "0.5",
        "20",
        "5,000",
    ]
