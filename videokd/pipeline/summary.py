"""Result table of a run: collected from test results, printed, and stored as results.json."""

from typing import Any

from rich.table import Table

from videokd.engine.training_file import peak_memory
from videokd.evaluation.results import read_result
from videokd.pipeline.baselines import BASELINES
from videokd.pipeline.plan import ExperimentPlan
from videokd.pipeline.run import Run
from videokd.utils.class_names import TRAINING_NAME
from videokd.utils.io import read_json, write_json

TITLES = {
    "experts": "Experts (T_i)",
    **{key: f"{key} {baseline.title}" for key, baseline in BASELINES.items()},
    "joint": "Joint teacher (T*)",
    "generalist": "MLFD generalist",
    "students": "MLFD students",
}


def write_summary(run: Run) -> dict[str, Any]:
    """Write all test results and training times of a run to ``results.json``; return them."""
    summary = {
        "datasets": list(run.datasets),
        "seed": run.cfg.SEED,
        "models": [_collect_model(run, key) for key in run.plan.rows],
        "trainings": _collect_trainings(run, run.plan),
    }
    write_json(run.folder / "results.json", summary)
    return summary


def accuracy_table(summary: dict[str, Any]) -> Table:
    """Build the table of top-1 in percent, models in rows and datasets in columns."""
    table = Table(title="Top-1 (%) on the test splits")
    table.add_column("model")
    for name in summary["datasets"]:
        table.add_column(name, justify="right")
    table.add_column("mean", justify="right")
    for model in summary["models"]:
        top1 = [model["top1"].get(name) for name in summary["datasets"]]
        known = [value for value in top1 if value is not None]
        mean = f"{sum(known) / len(known):.1f}" if len(known) == len(top1) else "-"
        cells = ["-" if value is None else f"{value:.1f}" for value in top1]
        table.add_row(model["title"], *cells, mean)
    table.caption = _describe_gaps(summary)
    return table


def time_table(summary: dict[str, Any]) -> Table:
    """Build the table of time and peak memory of each training."""
    table = Table(title="Training time and peak memory")
    memories = [record["peak_memory_gib"] for record in summary["trainings"]]
    kinds = [kind for kind in ("host", "gpu") if any(kind in memory for memory in memories)]
    columns = ("training", "steps", "seconds", "parameters", *(f"{kind} GiB" for kind in kinds))
    for column in columns:
        table.add_column(column, justify="left" if column == "training" else "right")
    for record, memory in zip(summary["trainings"], memories, strict=True):
        table.add_row(
            record["name"],
            str(record["num_steps"]),
            f"{record['seconds']:.1f}",
            f"{record['num_parameters']:,}",
            *(f"{memory[kind]:.2f}" if kind in memory else "-" for kind in kinds),
        )
    total = sum(record["seconds"] for record in summary["trainings"])
    table.add_row("all", "", f"{total:.1f}")
    return table


def _describe_gaps(summary: dict[str, Any]) -> str | None:
    """Return a note on datasets where a model was scored on fewer videos than listed, or None."""
    gaps = []
    for name in summary["datasets"]:
        models = [model for model in summary["models"] if name in model["num_videos"]]
        used = min((model["num_videos"][name] for model in models), default=0)
        listed = max((model["num_listed"][name] for model in models), default=0)
        if used < listed:
            gaps.append(f"{name}: scored on {used} of {listed} listed videos")
    return "; ".join(gaps) or None


def _collect_model(run: Run, key: str) -> dict[str, Any]:
    trainings = run.plan.row(key)
    results = {
        name: read_result(run.plan.path(training), name) for name, training in trainings.items()
    }
    known = {name: result for name, result in results.items() if result is not None}
    return {
        "key": key,
        "title": TITLES[key],
        "top1": {name: result["top1"] for name, result in known.items()},
        "top5": {name: result["top5"] for name, result in known.items()},
        "mean_class": {name: r["mean_class_accuracy"] for name, r in known.items()},
        "num_videos": {name: result["num_used"] for name, result in known.items()},
        "num_listed": {n: r["num_videos"] + r["num_missing"] for n, r in known.items()},
        "folders": {name: training.folder for name, training in trainings.items()},
    }


def _collect_trainings(run: Run, plan: ExperimentPlan) -> list[dict[str, Any]]:
    trainings = []
    for training in plan.trainings:
        path = run.plan.path(training) / TRAINING_NAME
        record = read_json(path) if path.exists() else {}
        if record.get("is_finished"):
            names = ("seconds", "num_steps", "num_parameters")
            facts = {name: record[name] for name in names}
            memory = peak_memory(record["calls"])
            trainings.append({"name": training.folder, **facts, "peak_memory_gib": memory})
    return trainings
