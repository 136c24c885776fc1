"""Results of a study as plain JSON values: everything on its page, and more."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode

from videokd.config import default_config, named_node
from videokd.config.keys import NAMED_SECTIONS
from videokd.engine.metrics_log import read_metrics
from videokd.pipeline.training import Training
from videokd.study.comparisons import Outcomes, compare_all, read_outcomes
from videokd.study.significance import mean_and_std
from videokd.study.study import Study, Variant
from videokd.synthetic.generate import GENERATOR_VERSION
from videokd.utils.class_names import TRAINING_NAME
from videokd.utils.env import collect_environment
from videokd.utils.errors import InputError
from videokd.utils.io import read_json

# Values that the log holds as shares of clips, 0 to 1.
_SHARES = ("agreement", "teacher_top1")


def make_results(
    cfg: CfgNode, study: Study, split: str, *, command: str, wall_sec: float
) -> dict[str, Any]:
    """Collect the results of all trained and scored variants.

    Args:
        cfg: The study's config.
        study: Study of that config.
        split: "val" or "test".
        command: Command line of the call.
        wall_sec: Seconds that the call took.

    Raises:
        InputError: No variant is complete under any seed.
    """
    outcomes = read_outcomes(study, split)
    if not outcomes:
        raise InputError("no variant is trained and scored on all its datasets; see the failures")
    variants = [v for v in study.variants if _seeds(v, outcomes)]
    first = next(iter(cfg.VARIANTS))
    reference = [variant for variant in variants if variant.name == first]
    comparisons = compare_all(outcomes, variants, reference[0]) if reference else []
    return {
        "command": command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "seconds": {"wall": wall_sec, **_training_seconds(study)},
        "environment": _environment(study),
        "data": _describe_data(cfg, study),
        "seeds": sorted({seed for _, seed in outcomes}),
        "split": split,
        "reference": first,
        "variants": {v.name: _accuracies(v, outcomes) for v in variants},
        "definitions": {v.name: _define(v, outcomes) for v in variants},
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "training": {v.name: describe_training(study, v, _seeds(v, outcomes)) for v in variants},
        "missing": [
            {"variant": name, "seed": seed} for name, seed in study.runs.keys() - outcomes.keys()
        ],
        "settings": list_changed_settings(cfg),
    }


def list_changed_settings(cfg: CfgNode) -> dict[str, Any]:
    """Return dotted key -> value of all settings but VARIANTS that differ from the defaults."""
    defaults = default_config()
    for section in NAMED_SECTIONS:
        for name in cfg[section]:
            defaults[section][name] = named_node(section)
    known = dict(_leaves(defaults))
    return {
        key: value
        for key, value in _leaves(cfg)
        if value != known.get(key) and not key.startswith("VARIANTS.")
    }


def _seeds(variant: Variant, outcomes: Outcomes) -> list[int]:
    return [seed for seed in variant.seeds if (variant.name, seed) in outcomes]


def _accuracies(variant: Variant, outcomes: Outcomes) -> dict[str, Any]:
    per_seed = [outcomes[variant.name, seed] for seed in _seeds(variant, outcomes)]
    found = {}
    for name in per_seed[0]:
        top1 = [of_seed[name].top1 for of_seed in per_seed]
        found[name] = _summarise(top1, len(per_seed[0][name].videos))
    means = [sum(o.top1 for o in of_seed.values()) / len(of_seed) for of_seed in per_seed]
    found["mean"] = _summarise(means, sum(row["num_videos"] for row in found.values()))
    return found


def _summarise(top1: Sequence[float], num_videos: int) -> dict[str, Any]:
    mean, std = mean_and_std(top1)
    return {
        "top1_mean": mean,
        "top1_std": std if len(top1) > 1 else None,
        "top1": list(top1),
        "num_videos": num_videos,
    }


def _define(variant: Variant, outcomes: Outcomes) -> dict[str, Any]:
    return {
        "title": variant.title,
        "group": variant.group,
        "row": variant.row,
        "opts": list(variant.opts),
        "seeds": _seeds(variant, outcomes),
    }


def _training_seconds(study: Study) -> dict[str, Any]:
    by_kind: dict[str, dict[str, Any]] = {}
    for job in study.jobs:
        path = job.folder / TRAINING_NAME
        if path.exists():
            kind = by_kind.setdefault(job.training.key, {"num_trainings": 0, "seconds": 0.0})
            kind["num_trainings"] += 1
            kind["seconds"] += read_json(path)["seconds"]
    total = sum(kind["seconds"] for kind in by_kind.values())
    return {"training": total, "by_kind": by_kind}


def _environment(study: Study) -> dict[str, Any]:
    run = next(iter(study.runs.values()))
    processes = {"num_workers": run.num_workers, "num_threads": torch.get_num_threads()}
    return {**collect_environment(run.device), **processes}


def _describe_data(cfg: CfgNode, study: Study) -> dict[str, Any]:
    run = next(iter(study.runs.values()))
    generated = {
        "profile": cfg.SYNTHETIC.PROFILE,
        "generator_seed": cfg.SYNTHETIC.SEED,
        "generator_version": GENERATOR_VERSION,
    }
    datasets = {
        name: {
            "num_classes": splits.num_classes,
            "num_train": len(splits.train),
            "num_val": 0 if splits.val is None else len(splits.val),
            "num_test": len(splits.test),
        }
        for name, splits in run.datasets.items()
    }
    return {**(generated if cfg.SYNTHETIC.ROOT else {}), "datasets": datasets}


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


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
    keys = dict.fromkeys(key for log in logs for line in log for key in line)
    terms = [key for key in keys if key.startswith("feat_")]
    found["feat"] = {}
    for term in terms:
        series = _series(logs, term)
        first, last = (float(np.mean([values[i] for values in series])) for i in (0, -1))
        found["feat"][term.removeprefix("feat_")] = [first, last]
    return found


def _series(logs: Sequence[list[dict[str, Any]]], name: str) -> list[list[float]]:
    series = [[line[name] for line in log if name in line] for log in logs]
    return [values for values in series if values]
