"""``report.html``: a run directory summarised on one page that needs no network.

The page is built from files only, at any time, also for an unfinished run. It names the missing
parts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videokd import __version__
from videokd.engine.metrics_log import read_metrics
from videokd.evaluation.results import read_result
from videokd.report import figures
from videokd.report.clips import make_cards
from videokd.report.results import (
    RunFiles,
    Scored,
    compare_students,
    make_rows,
    read_run,
    read_scores,
    top_confusions,
)
from videokd.utils.io import atomic_write_text

_NUM_CARDS_EACH = 4
_NUM_CONFUSIONS = 6
_METRICS = (("Top-1", "top1"), ("Top-5", "top5"), ("Mean over classes", "mean_class"))
_MAX_PICTURE_BYTES = 4_000_000  # total of all clips, in the page's base64


def write_report(run_dir: Path, output: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        run_dir: The run directory; only its files and the test videos that they name are read.
        output: Output path; None for ``run_dir/report.html``.

    Returns:
        The path of the written file.

    Raises:
        InputError: ``run_dir`` is not a run directory.
    """
    run = read_run(run_dir)
    target = output or run_dir / "report.html"
    atomic_write_text(target, _render(_describe(run)))
    return target


def _render(context: Mapping[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("videokd.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(context)


def _describe(run: RunFiles) -> dict[str, Any]:
    """Return the template's variables."""
    datasets = [str(name) for name in run.summary["datasets"]]
    models = {model["key"]: model for model in run.summary["models"]}
    top1 = make_rows(run.summary, "top1")
    colors = figures.dataset_colors(datasets)
    return {
        "title": run.folder.resolve().name,
        "version": __version__,
        "summary": run.summary,
        "datasets": datasets,
        "tables": [(title, make_rows(run.summary, m)) for title, m in _METRICS] if top1 else [],
        "gains": compare_students(run.summary),
        "accuracy_figure": figures.draw_accuracies(top1, colors) if top1 else "",
        "curves": [
            curve for model in models.values() if (curve := _describe_curves(run, model, colors))
        ],
        "tests": [_describe_test(run, models, colors, name) for name in datasets],
        "environment": _describe_calls(run.calls),
        "config": run.config,
    }


def _describe_curves(
    run: RunFiles, model: Mapping[str, Any], colors: Mapping[str, str]
) -> dict[str, str]:
    """Return the curves of the trainings behind one row of the table; {} without any log."""
    logs = {}
    for folder in dict.fromkeys(model["folders"].values()):
        # A B1 student that equals its expert (same architecture and training) is shown with the
        # experts.
        if model["key"] == "B1" and folder.startswith("experts/"):
            continue
        log = read_metrics(run.folder / folder / "metrics.jsonl")
        if log:
            logs[Path(folder).name] = log
    if not logs:
        return {}
    return {
        "title": model["title"],
        "curves": figures.draw_curves(logs, colors, f"curves-{model['key']}"),
        "terms": figures.draw_terms(logs, colors, f"terms-{model['key']}"),
    }


def _describe_test(
    run: RunFiles, models: Mapping[str, Any], colors: Mapping[str, str], name: str
) -> dict[str, Any]:
    """Return the template's variables for the test of one dataset."""
    scored: dict[str, Scored] = {}
    result: dict[str, Any] = {}
    for key in ("experts", "students"):
        folder = models.get(key, {}).get("folders", {}).get(name)
        if folder is None:
            continue
        found = read_scores(run.folder / folder, name)
        if found is not None:
            scored[key] = found
            result = read_result(run.folder / folder, name) or {}
    titles = {"experts": "expert", "students": "student"}
    student = scored.get("students")
    return {
        "dataset": name,
        "result": result,
        "confusion": figures.draw_confusions(
            {titles[key]: one for key, one in scored.items()}, colors[name], f"confusion-{name}"
        )
        if scored
        else "",
        "mistakes": top_confusions(student, _NUM_CONFUSIONS) if student else [],
        "cards": make_cards(
            student,
            scored.get("experts"),
            num_each=_NUM_CARDS_EACH,
            max_bytes=_MAX_PICTURE_BYTES // len(colors),
        )
        if student
        else [],
    }


def _describe_calls(calls: Mapping[str, list[dict[str, Any]]]) -> list[tuple[str, str]]:
    """List commands and environments of the trainings; names the trainings where values differ."""
    owners: dict[str, dict[str, list[str]]] = {}
    for training, records in calls.items():
        for record in records:
            known = {"command": record["command"], "overrides": record["overrides"]}
            for name, value in _flatten({**known, **record["environment"]}):
                names = owners.setdefault(name, {}).setdefault(value, [])
                if training not in names:
                    names.append(training)
    rows = []
    for name, values in owners.items():
        of_all = len(values) == 1 and len(next(iter(values.values()))) == len(calls)
        texts = [v if of_all else f"{v} ({', '.join(names)})" for v, names in values.items()]
        rows.append((name, "; ".join(texts)))
    return rows


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """List nested values under dotted names."""
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows
