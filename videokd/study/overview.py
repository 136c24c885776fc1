"""First screen of a study's page: a forest plot, generated sentences, accuracy against cost."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from videokd.report.figures import COLORS
from videokd.study.analysis.figures import save_figure, styled
from videokd.study.markdown import markdown_table

# The rivals that the sentences name: the first of each group whose row is in the study, or of the
# second group the one that is the strongest.
_ALONE, _JOINT, _OWN = ("B1x", "B1"), ("B2C", "B2F", "B2W", "B2"), ("B4F", "B4")


def main_differences(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the comparisons of the reference with the other main variants, mean over datasets."""
    datasets = list(results["data"]["datasets"])
    column = "mean" if len(datasets) > 1 else datasets[0]
    definitions = results["definitions"]
    reference = definitions.get(results["reference"])
    group = reference["group"] if reference else ""
    return [
        comparison
        for comparison in results["comparisons"]
        if comparison["dataset"] == column
        and comparison["a"] == results["reference"]
        and definitions[comparison["b"]]["group"] == group
    ]


def interval(comparison: Mapping[str, Any]) -> tuple[float, float]:
    """Return the 95 % interval over videos and seeds; over videos alone with one seed."""
    if comparison["low_seeds"] is None:
        return comparison["low"], comparison["high"]
    return comparison["low_seeds"], comparison["high_seeds"]


def sentences(results: Mapping[str, Any]) -> list[str]:
    """Return one sentence per rival: the difference, its interval, and the cost.

    The rivals are the student alone, the strongest jointly trained network and the own expert's
    student, of those that the study has.
    """
    by_row: dict[str, Mapping[str, Any]] = {}
    for comparison in main_differences(results):
        by_row.setdefault(results["definitions"][comparison["b"]]["row"], comparison)
    rivals = [_first(by_row, _ALONE), _strongest(by_row, _JOINT), _first(by_row, _OWN)]
    return [_sentence(results, rival) for rival in rivals if rival is not None]


def _first(by_row: Mapping[str, Any], rows: Sequence[str]) -> Mapping[str, Any] | None:
    return next((by_row[row] for row in rows if row in by_row), None)


def _strongest(by_row: Mapping[str, Any], rows: Sequence[str]) -> Mapping[str, Any] | None:
    found = [by_row[row] for row in rows if row in by_row]
    return min(found, key=lambda comparison: comparison["difference"], default=None)


def _sentence(results: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    a, b = (results["definitions"][comparison[key]]["title"] for key in "ab")
    low, high = interval(comparison)
    size = abs(comparison["difference"])
    seeds = len(comparison["seeds"])
    over = f"over videos and {seeds} seeds" if seeds > 1 else "over videos, one seed"
    if low > 0:
        verdict = f"is {size:.1f} points better than"
    elif high < 0:
        verdict = f"is {size:.1f} points worse than"
    else:
        verdict = f"differs by {comparison['difference']:+.1f} points, which is not clear, from"
    ratio = _cost_ratio(results, comparison)
    cost = "" if ratio is None else f", at {ratio:.1f} times its clip passes"
    return f"{a} {verdict} {b} (95 % interval {low:+.1f} to {high:+.1f} {over}){cost}."


def draw_forest(path: Path, results: Mapping[str, Any]) -> bool:
    """Draw the differences of the main variants with their intervals, if there are any.

    Args:
        path: Output path.
        results: From ``make_results``.

    Returns:
        Whether the picture was drawn.
    """
    comparisons = main_differences(results)
    if not comparisons:
        return False
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 1.0 + 0.3 * len(comparisons)), layout="constrained")
        axis = figure.subplots()
        heights = range(len(comparisons))[::-1]
        for height, comparison in zip(heights, comparisons, strict=True):
            low, high = interval(comparison)
            axis.plot([low, high], [height, height], color=COLORS[0], linewidth=2)
            axis.plot([comparison["difference"]], [height], "s", color=COLORS[0])
        axis.axvline(0, color="black", linewidth=0.8)
        reference = results["definitions"][results["reference"]]["title"]
        axis.set_yticks(list(heights), [_label(results, c) for c in comparisons])
        axis.set_ylim(-0.6, len(comparisons) - 0.4)
        axis.set_xlabel(
            f"top-1 of {reference} minus that of the row, points (95 % interval)\n"
            f"in brackets: clip passes of {reference} divided by those of the row"
        )
        save_figure(figure, path)
    return True


def _label(results: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    title = results["definitions"][comparison["b"]]["title"]
    ratio = _cost_ratio(results, comparison)
    return title if ratio is None else f"{title} (x {ratio:.1f})"


def _cost_ratio(results: Mapping[str, Any], comparison: Mapping[str, Any]) -> float | None:
    """Return the clip passes of the reference per pass of the other; None if one has none."""
    a, b = (results["cost"][comparison[key]]["clip_passes"] for key in "ab")
    return a / b if a and b else None


def curves(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return CURVE -> its variants by rising cost."""
    found: dict[str, list[str]] = {}
    for variant, definition in results["definitions"].items():
        if definition["curve"]:
            found.setdefault(definition["curve"], []).append(variant)
    costs = {name: cost["clip_passes"] for name, cost in results["cost"].items()}
    return {name: sorted(names, key=costs.__getitem__) for name, names in found.items()}


def draw_curves(path: Path, results: Mapping[str, Any]) -> bool:
    """Draw mean top-1 against clip passes, a line per CURVE; return whether there are any."""
    found = curves(results)
    if not found:
        return False
    with styled():
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axis = figure.subplots()
        # Seven markers and six colours, so that the pairs do not repeat soon.
        styles = zip(cycle(COLORS), cycle("osD^vPX"), found.items(), strict=False)
        for color, marker, (title, names) in styles:
            x = [results["cost"][name]["clip_passes"] / 1000 for name in names]
            means = [results["variants"][name]["mean"] for name in names]
            y, spread = ([m[key] or 0.0 for m in means] for key in ("top1_mean", "top1_std"))
            axis.errorbar(x, y, spread, color=color, marker=marker, capsize=2, label=title)
        axis.set_xscale("log")
        # The default labels are formulas, which these pictures show as plain text.
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("clip passes of all trainings, thousands (logarithmic)")
        axis.set_ylabel("mean top-1, % (bars: standard deviation over seeds)")
        axis.legend()
        save_figure(figure, path)
    return True


def curve_table(results: Mapping[str, Any]) -> str:
    """Return the table of the curves' points."""
    rows = []
    for title, names in curves(results).items():
        for name in names:
            mean = results["variants"][name]["mean"]
            spread = "" if mean["top1_std"] is None else f" +- {mean['top1_std']:.1f}"
            passes = f"{results['cost'][name]['clip_passes'] / 1000:,.0f}"
            own = results["definitions"][name]["title"]
            rows.append([title, own, passes, f"{mean['top1_mean']:.1f}{spread}"])
    return markdown_table(["curve", "variant", "thousand passes", "mean top-1"], rows, num_names=2)
