"""Figures of the report as inline SVG that takes its text colour from the page."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from videokd.engine.meters import MEASURED
from videokd.report.results import Row, Scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Readable on white and on near-black, and distinct under common colour blindness.
COLORS = ("#3b82c4", "#d97706", "#2f9e6e", "#c2528b", "#8b6fd0", "#8a8f98")
# Placeholder for the page's text colour; replaced by currentColor in the SVG.
_INK = "#123456"
_LINE_STYLES = ("-", "--", ":", "-.")
_MAX_POINTS = 200
_MAX_NAMED_CLASSES = 40
_MAX_NUMBERED_CLASSES = 12
_NOT_TERMS = {
    *("step", "lr", "loss", "top1", "grad_norm", "grad_norm_max", *MEASURED),
    *("bad_videos", "skipped_steps"),
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.18,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    # Class and dataset names are plain text, even if they contain "$".
    "text.parse_math": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    ),
    "grid.color": _INK,
}

Log = Sequence[Mapping[str, Any]]


def dataset_colors(datasets: Sequence[str]) -> dict[str, str]:
    """Return the color of each dataset, the same in every figure of a page."""
    return dict(zip(datasets, _cycle(len(datasets)), strict=True))


def draw_accuracies(rows: Sequence[Row], colors: Mapping[str, str]) -> str:
    """Draw top-1 with its interval: one panel per dataset, one line per model.

    The dot of the best model is filled, the others are hollow.

    Args:
        rows: Rows of the accuracy table.
        colors: Dataset -> its color, in the order of the cells.
    """
    with _style():
        figure, axes = _panels(len(colors), height=0.7 + 0.3 * len(rows))
        heights = np.arange(len(rows))[::-1]
        for column, (axis, (name, color)) in enumerate(zip(axes, colors.items(), strict=True)):
            for height, row in zip(heights, rows, strict=True):
                cell = row.cells[column]
                if cell.value is None:
                    continue
                low, high = cell.interval or (cell.value, cell.value)
                axis.plot([low, high], [height, height], color=color, alpha=0.5)
                fill = "full" if cell.is_best else "none"
                axis.plot(cell.value, height, "o", color=color, markersize=6, fillstyle=fill)
            axis.set(title=name, xlabel="top-1 (%)", ylim=(-0.6, len(rows) - 0.4))
            axis.set_yticks(
                heights, [row.title for row in rows] if column == 0 else [""] * len(rows)
            )
        return _to_svg(figure, "accuracies")


def draw_curves(logs: Mapping[str, Log], colors: Mapping[str, str], name: str) -> str:
    """Draw loss, training top-1 and validation top-1 of several trainings.

    Args:
        logs: Name of the training -> lines of its ``metrics.jsonl``. A training on one dataset has
            the name of that dataset.
        colors: Dataset -> its color. Curves over several datasets have the text colour.
        name: Name of the figure, unique on the page.
    """
    with _style():
        figure, (loss, train, val) = _panels(3, height=2.5)
        for title, log in logs.items():
            color = colors.get(title, _INK)
            _plot(loss, log, "loss", color=color, label=title)
            _plot(train, log, "top1", color=color, label=title)
            for key in sorted(_val_keys(log)):
                label = key.removeprefix("val_top1_")
                _plot(val, log, key, color=colors.get(label, _INK), label=label, marker="o")
        loss.set(title="loss", xlabel="step")
        train.set(title="training top-1 (%)", xlabel="step")
        val.set(title="validation top-1 (%)", xlabel="step")
        _legends(loss if len(logs) > 1 else None, val)
        return _to_svg(figure, name)


def draw_terms(logs: Mapping[str, Log], colors: Mapping[str, str], name: str) -> str:
    """Draw the logged terms of each training, unweighted, on a log scale; one panel per training.

    Args:
        logs: Name of the training -> lines of its ``metrics.jsonl``.
        colors: Dataset -> its color, for terms of one dataset such as ``ce_UCF``.
        name: Name of the figure, unique on the page.

    Returns:
        The SVG, or "" when no training logs more than one term.
    """
    terms = {
        title: sorted({k for line in log for k in line} - _NOT_TERMS - _val_keys(log))
        for title, log in logs.items()
    }
    terms = {title: keys for title, keys in terms.items() if len(keys) > 1}
    if not terms:
        return ""
    with _style():
        figure, axes = _panels(len(terms), height=3.2)
        for axis, (title, keys) in zip(axes, terms.items(), strict=True):
            for key, (color, line) in _style_terms(keys, colors).items():
                _plot(axis, logs[title], key, color=color, label=key, line=line)
            axis.set(title=f"logged terms: {title}", xlabel="step", yscale="log")
            # The default labels of a log scale are math formulas, which are switched off.
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(_label_2_and_5)
            # Below the panel: with eight curves no corner inside is free.
            axis.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22))
        return _to_svg(figure, name)


def draw_confusions(scored: Mapping[str, Scored], color: str, name: str) -> str:
    """Draw one confusion matrix per model, side by side; rows are labels and sum to 1.

    Args:
        scored: Title -> predictions; all for the same classes.
        color: Color of the dataset.
        name: Name of the figure, unique on the page.
    """
    class_names = next(iter(scored.values())).class_names
    num_classes = len(class_names)
    is_named = num_classes <= _MAX_NAMED_CLASSES
    size = min(6.0, max(2.6, 0.24 * num_classes)) if is_named else 4.0
    with _style({"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}):
        figure, axes = _panels(len(scored), height=size + 1.0, width=size + 1.4)
        for column, (axis, (title, one)) in enumerate(zip(axes, scored.items(), strict=True)):
            counts = one.confusion()
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            axis.imshow(_shade(shares, color), interpolation="none", aspect="equal")
            axis.set(title=title, xlabel="predicted", ylabel="" if column else "label")
            names = class_names if is_named else ()
            axis.set_xticks(range(len(names)), names, rotation=90)
            axis.set_yticks(range(len(names)), names if column == 0 else [""] * len(names))
            if num_classes <= _MAX_NUMBERED_CLASSES:
                _write_counts(axis, counts, shares)
        return _to_svg(figure, name)


def _write_counts(axis: "Axes", counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for row, column in np.argwhere(counts > 0):
        color = "#ffffff" if shares[row, column] > 0.55 else _INK
        text = str(counts[row, column])
        axis.text(column, row, text, ha="center", va="center", fontsize=7, color=color)


def _shade(shares: NDArray[np.float64], color: str) -> NDArray[np.float64]:
    """Convert shares (K, K) to RGBA (K, K, 4); larger shares are more opaque."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    rgb = np.broadcast_to(np.array([red, green, blue]), (*shares.shape, 3))
    return np.concatenate([rgb, shares[..., None]], axis=2)


def _style_terms(keys: Sequence[str], colors: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the color and line style of each term: its dataset's color, or an unused one."""
    styles = {
        key: (color, "-")
        for key in keys
        for dataset, color in colors.items()
        if key.endswith(f"_{dataset}")
    }
    free = [color for color in (*COLORS, _INK) if color not in colors.values()]
    others = [key for key in keys if key not in styles]
    for number, key in enumerate(others):
        style = _LINE_STYLES[number // len(free) % len(_LINE_STYLES)]
        styles[key] = (free[number % len(free)], style)
    return {key: styles[key] for key in keys}


def _plot(
    axis: "Axes",
    log: Log,
    key: str,
    *,
    color: str,
    label: str,
    marker: str = "",
    line: str = "-",
) -> None:
    points = [(at["step"], at[key]) for at in log if isinstance(at.get(key), int | float)]
    if not points:
        return
    steps, values = np.array(points, dtype=np.float64).T
    # Averages over groups of lines, since a page needs no more points than pixels.
    parts = np.array_split(np.arange(len(steps)), min(len(steps), _MAX_POINTS))
    x, y = ([float(series[part].mean()) for part in parts] for series in (steps, values))
    axis.plot(x, y, line, color=color, label=label, marker=marker, markersize=3)


def _label_2_and_5(value: float, position: float | None) -> str:
    """Return labels for the minor ticks of a log scale whose first digit is 2 or 5."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _val_keys(log: Log) -> set[str]:
    return {key for line in log for key in line if key.startswith("val_top1_")}


def _cycle(count: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(count)]


def _legends(*axes: "Axes | None") -> None:
    for axis in axes:
        if axis is not None and axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=8)


def _style(changes: Mapping[Any, Any] | None = None) -> Any:
    import matplotlib as mpl

    return mpl.rc_context({**_STYLE, **(changes or {})})


def _panels(count: int, *, height: float, width: float = 3.4) -> tuple["Figure", list["Axes"]]:
    # pyplot would keep figures in global state and choose a window system.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _to_svg(figure: "Figure", name: str) -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    # The salt keeps the ids of different figures on one page distinct.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # Ids such as "axes_1" repeat in every figure and are never referenced.
    svg = re.sub(r' id="[a-z0-9.]+_\d+"', "", svg)
    return svg.replace(_INK, "currentColor")
