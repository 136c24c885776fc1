"""Pictures of the feature analysis as PNG files on white; this module only draws.

Each network has the same colour and marker in all pictures, distinct under common colour blindness.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from videokd.report.figures import COLORS
from videokd.study.analysis.calibration import Reliability
from videokd.utils.io import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NETWORKS = {"T*": (COLORS[2], "s"), "student": (COLORS[0], "o"), "B1": (COLORS[1], "^")}
# Okabe and Ito's colours and two more; with the markers they distinguish 70 classes.
_CLASS_COLORS = (
    *("#e69f00", "#56b4e9", "#009e73", "#d55e00", "#0072b2"),
    *("#cc79a7", "#000000", "#b8a800", "#7a1f4d", "#8a8f98"),
)
_CLASS_MARKERS = "o^sDvPX"
_MAX_NAMED_CLASSES = 20
_DPI = 110
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    # Class and dataset names are plain text, even if they contain "$".
    "text.parse_math": False,
}

Groups = Mapping[tuple[str, str], Sequence[float]]
"""(dataset, network) -> one value per seed."""


def draw_similarities(
    path: Path,
    values: Mapping[str, NDArray[np.float64]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
) -> None:
    """Draw one heat map per dataset, with the values as text.

    Args:
        path: Output path.
        values: Dataset -> (R, C) CKA.
        rows: R names.
        columns: C names.
    """
    with styled({"axes.spines.left": False, "axes.spines.bottom": False}):
        width, height = 1.2 + 0.62 * len(columns), 1.5 + 0.32 * len(rows)
        figure, axes = _panels(len(values), width=width, height=height)
        for column, (axis, (name, cka)) in enumerate(zip(axes, values.items(), strict=True)):
            image = axis.imshow(cka, vmin=0, vmax=1, cmap="cividis", aspect="auto")
            for (i, j), value in np.ndenumerate(cka):
                color = "black" if value > 0.55 else "white"
                axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
            axis.set_title(f"{name} test videos")
            axis.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
            axis.set_yticks(range(len(rows)), rows if column == 0 else [""] * len(rows))
            axis.tick_params(length=0)
        figure.colorbar(image, ax=axes, label="linear CKA (no unit)", shrink=0.9, pad=0.01)
        save_figure(figure, path)


def draw_embeddings(
    path: Path,
    dataset: str,
    points: Mapping[str, NDArray[np.float64]],
    *,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
) -> None:
    """Draw one panel per network, with points marked by class.

    Args:
        path: Output path.
        dataset: Name of the dataset.
        points: Network -> (N, 2).
        labels: (N,)
        class_names: Class names, shown if there are at most 20. Beyond 70 classes the marks repeat.
    """
    with styled():
        figure, axes = _panels(len(points), width=2.7, height=3.3)
        for axis, (title, xy) in zip(axes, points.items(), strict=True):
            for label in np.unique(labels):
                own = xy[labels == label]
                axis.scatter(
                    own[:, 0],
                    own[:, 1],
                    s=13,
                    linewidths=0,
                    color=_CLASS_COLORS[label % len(_CLASS_COLORS)],
                    marker=_CLASS_MARKERS[label % len(_CLASS_MARKERS)],
                    label=class_names[label],
                )
            axis.set(title=f"{dataset}: {title}", xlabel="t-SNE 1 (no unit)")
            axis.set(xticks=[], yticks=[])
        axes[0].set_ylabel("t-SNE 2 (no unit)")
        if len(class_names) <= _MAX_NAMED_CLASSES:
            handles, names = axes[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside right center", fontsize=8, handletextpad=0)
        save_figure(figure, path)


def draw_shares(path: Path, panels: Mapping[str, Groups]) -> None:
    """Draw percentages as bars grouped by dataset: the mean over seeds, and a dot per seed.

    Args:
        path: Output path.
        panels: Title -> values in percent; nan is left out.
    """
    with styled():
        figure, axes = _panels(len(panels), width=3.5, height=2.9)
        for axis, (title, groups) in zip(axes, panels.items(), strict=True):
            datasets = list(dict.fromkeys(name for name, _ in groups))
            networks = list(dict.fromkeys(network for _, network in groups))
            width = 0.8 / len(networks)
            for number, network in enumerate(networks):
                x = np.arange(len(datasets)) + (number - (len(networks) - 1) / 2) * width
                color, _ = _NETWORKS[network]
                seeds = [_known(groups[name, network]) for name in datasets]
                means = [float(np.mean(values)) if values else 0.0 for values in seeds]
                axis.bar(x, means, 0.9 * width, color=color, label=network)
                for centre, values in zip(x, seeds, strict=True):
                    axis.plot([centre] * len(values), values, "o", color="black", markersize=2.5)
            axis.set(title=title, xlabel="dataset", ylabel="percent", ylim=(0, 100))
            axis.set_xticks(range(len(datasets)), datasets)
        _legend(figure, axes[0])
        save_figure(figure, path)


def draw_reliability(path: Path, tables: Mapping[str, Mapping[str, Reliability]]) -> None:
    """Draw accuracy against confidence, one panel per dataset.

    Args:
        path: Output path.
        tables: Dataset -> network -> reliability diagram.
    """
    with styled():
        figure, axes = _panels(len(tables), width=3.4, height=3.5)
        for axis, (name, of_dataset) in zip(axes, tables.items(), strict=True):
            axis.plot([0, 100], [0, 100], color="0.6", linewidth=1, linestyle="--")
            for network, table in of_dataset.items():
                color, marker = _NETWORKS[network]
                used = table.num_videos > 0
                x, y = table.confidence[used], table.accuracy[used]
                areas = 8 + 120 * table.num_videos[used] / table.num_videos.sum()
                axis.plot(x, y, color=color, linewidth=1, alpha=0.6)
                axis.scatter(x, y, areas, color=color, marker=marker, label=network)
            axis.set(title=name, xlabel="confidence (%)", xlim=(0, 101), ylim=(-2, 102))
        axes[0].set_ylabel("accuracy (%)")
        _legend(figure, axes[0])
        save_figure(figure, path)


def draw_changes(
    path: Path, changes: Mapping[str, Mapping[str, tuple[float, Sequence[float]]]]
) -> None:
    """Draw the change of each class as a bar, with a dot per seed; one panel per dataset.

    Args:
        path: Output path.
        changes: Dataset -> class -> (change, change of each seed), in percentage points; the first
            class is on top.
    """
    with styled():
        height = 1.0 + 0.22 * max(len(of_dataset) for of_dataset in changes.values())
        figure, axes = _panels(len(changes), width=3.9, height=height)
        for axis, (name, of_dataset) in zip(axes, changes.items(), strict=True):
            heights = np.arange(len(of_dataset))[::-1]
            means = np.array([mean for mean, _ in of_dataset.values()])
            colors = np.where(means < 0, COLORS[1], COLORS[0])
            axis.barh(heights, means, 0.75, color=colors)
            for height, (_, seeds) in zip(heights, of_dataset.values(), strict=True):
                axis.plot(seeds, [height] * len(seeds), "o", color="black", markersize=2.5)
            axis.axvline(0, color="black", linewidth=0.8)
            axis.set(title=name, xlabel="top-1, student - B1 (points)")
            axis.set_yticks(heights, list(of_dataset))
        axes[0].set_ylabel("class")
        save_figure(figure, path)


def _known(values: Sequence[float]) -> list[float]:
    return [value for value in values if not np.isnan(value)]


def _legend(figure: "Figure", axis: "Axes") -> None:
    """Draw one legend for all panels below them."""
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))


def styled(changes: Mapping[Any, Any] | None = None) -> Any:
    """Return the context that pictures are drawn in, with changes of matplotlib's settings."""
    import matplotlib as mpl

    return mpl.rc_context({**_STYLE, **(changes or {})})


def _panels(count: int, *, width: float, height: float) -> tuple["Figure", list["Axes"]]:
    # pyplot would keep figures in global state and choose a window system.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count + 1, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as a small PNG file."""
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI)
    # A palette reduces the size to a third; these files are kept in the repository.
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(256).save(packed, format="png", optimize=True)
    atomic_write_bytes(path, packed.getvalue())
