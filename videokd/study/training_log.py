"""Summary of a variant's training logs: final accuracy, teacher agreement and feature losses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videokd.engine.metrics_log import read_metrics
from videokd.pipeline.training import Training
from videokd.study.jobs import Study
from videokd.study.variants import Variant

# Values that the log holds as shares of clips, 0 to 1.
_SHARES = ("agreement", "teacher_top1")


def describe_training(study: Study, variant: Variant, seeds: Sequence[int]) -> dict[str, Any]:
    """Return means over seeds and datasets of the trainings that a variant shows.

    Args:
        study: The study.
        variant: A variant of the study.
        seeds: Seeds under which everything is trained; at least one.

    Returns:
        steps; top1, agreement and teacher_top1 in percent of clips, from the last log line with
        each; feat, a mapping of term -> [first, last]. Values in no log are left out.
    """
    trainings: dict[Path, Training] = {}
    for seed in seeds:
        plan = study.runs[variant.name, seed].plan
        trainings |= {
            plan.path(training): training for training in study.row(variant, seed).values()
        }
    logs = [read_metrics(folder / "metrics.jsonl") for folder in trainings]
    found: dict[str, Any] = {
        "steps": float(np.mean([training.num_steps for training in trainings.values()]))
    }
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
