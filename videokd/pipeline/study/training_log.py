"""What the logs of a variant's trainings say: how far they came, and how they were taught."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videokd.engine.metrics_log import read_metrics
from videokd.pipeline.study.jobs import Study
from videokd.pipeline.study.variants import Variant
from videokd.pipeline.unit import Unit

# Logged as a share of clips.
_SHARES = ("agreement", "teacher_top1")


def describe_training(study: Study, variant: Variant, seeds: Sequence[int]) -> dict[str, Any]:
    """Return means over the trainings that a variant shows, over seeds and datasets.

    Args:
        study: The study.
        variant: One of it.
        seeds: Of which everything is trained; at least one.

    Returns:
        steps; of the last line of the log that has it: top1, agreement and teacher_top1, percent
        of clips; and feat, term -> [first, last]. What is in no log is left out.
    """
    units: dict[Path, Unit] = {}
    for seed in seeds:
        plan = study.runs[variant.name, seed].plan
        units |= {plan.path(unit): unit for unit in study.row(variant, seed).values()}
    logs = [read_metrics(folder / "metrics.jsonl") for folder in units]
    found: dict[str, Any] = {"steps": float(np.mean([unit.num_steps for unit in units.values()]))}
    for name in ("top1", *_SHARES):
        ends = [values[-1] for values in _series(logs, name)]
        if ends:
            found[name] = float(np.mean(ends)) * (100 if name in _SHARES else 1)
    terms = dict.fromkeys(key for log in logs for line in log for key in line if _is_taught(key))
    found["feat"] = {}
    for term in terms:
        series = _series(logs, term)
        first, last = (float(np.mean([values[i] for values in series])) for i in (0, -1))
        found["feat"][term.removeprefix("feat_")] = [first, last]
    return found


def _is_taught(key: str) -> bool:
    return key.startswith("feat_")


def _series(logs: Sequence[list[dict[str, Any]]], name: str) -> list[list[float]]:
    series = [[line[name] for line in log if name in line] for log in logs]
    return [values for values in series if values]
