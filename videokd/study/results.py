"""Results of a study as plain JSON values: everything on its page, and more."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode

from videokd.config import default_config, named_node
from videokd.config.keys import NAMED_SECTIONS
from videokd.pipeline.cost import list_chain
from videokd.study.comparisons import Outcomes, compare_all, read_outcomes
from videokd.study.finished import Finished, mean_log
from videokd.study.significance import mean_and_std
from videokd.study.study import Study, Variant
from videokd.synthetic.generate import GENERATOR_VERSION
from videokd.utils.env import collect_environment
from videokd.utils.errors import InputError


def make_results(
    cfg: CfgNode,
    study: Study,
    split: str,
    finished: Finished,
    *,
    command: str,
    wall_sec: float,
) -> dict[str, Any]:
    """Collect the results of all trained and scored variants.

    Args:
        cfg: The study's config.
        study: Study of that config.
        split: "val" or "test".
        finished: Trainings and scores of the study.
        command: Command line of the call.
        wall_sec: Seconds that the call took.

    Raises:
        InputError: No variant is complete under any seed.
    """
    outcomes = read_outcomes(study, split, finished)
    if not outcomes:
        raise InputError("no variant is trained and scored on all its datasets; see the failures")
    variants = [v for v in study.variants if _seeds(v, outcomes)]
    first = next(iter(cfg.VARIANTS))
    return {
        "command": command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "seconds": {"wall": wall_sec, **_training_seconds(study, finished)},
        "environment": _environment(study),
        "data": _describe_data(cfg, study),
        "seeds": sorted({seed for _, seed in outcomes}),
        "split": split,
        "reference": first,
        "variants": {v.name: _accuracies(v, outcomes) for v in variants},
        "definitions": {v.name: _define(v, outcomes) for v in variants},
        "comparisons": [asdict(comparison) for comparison in compare_all(outcomes, variants)],
        "cost": {v.name: describe_cost(study, v, _seeds(v, outcomes), finished) for v in variants},
        "training": {
            v.name: describe_training(study, v, _seeds(v, outcomes), finished) for v in variants
        },
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
        "curve": variant.curve,
        "row": variant.row,
        "opts": list(variant.opts),
        "seeds": _seeds(variant, outcomes),
    }


def _training_seconds(study: Study, finished: Finished) -> dict[str, Any]:
    by_kind: dict[str, dict[str, Any]] = {}
    every = {
        training.fingerprint: training
        for variant in study.variants
        for seed in variant.seeds
        for training in list_chain(*study.row(variant, seed).values())
    }
    for fingerprint, training in every.items():
        if fingerprint in finished.trainings:
            kind = by_kind.setdefault(training.key, {"num_trainings": 0, "seconds": 0.0})
            kind["num_trainings"] += 1
            kind["seconds"] += finished.trainings[fingerprint]["seconds"]
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


def describe_cost(
    study: Study, variant: Variant, seeds: Sequence[int], finished: Finished
) -> dict[str, float]:
    """Return the cost of a variant: all trainings that it needs, each counted once.

    Args:
        study: The study.
        variant: A variant of the study.
        seeds: Seeds under which everything is trained; at least one.
        finished: Trainings of the study.

    Returns:
        clip_passes, see ``CostMeter``, and minutes, both means over seeds; parameters and networks
        that classify all datasets.
    """
    shown = {training.fingerprint: training for training in study.row(variant, seeds[0]).values()}
    meter = study.runs[variant.name, seeds[0]].plan.meter
    seconds = [
        sum(
            finished.trainings[training.fingerprint]["seconds"]
            for training in list_chain(*study.row(variant, seed).values())
            if training.fingerprint in finished.trainings
        )
        for seed in seeds
    ]
    # The seed also chooses the held-out videos, so that the number of steps may differ.
    passes = [study.clip_passes(variant, seed) for seed in seeds]
    return {
        "clip_passes": round(float(np.mean(passes))),
        "minutes": float(np.mean(seconds)) / 60,
        "parameters": sum(meter.num_parameters(training) for training in shown.values()),
        "networks": len(shown),
    }


def describe_training(
    study: Study, variant: Variant, seeds: Sequence[int], finished: Finished
) -> dict[str, Any]:
    """Return means over seeds and datasets of the trainings that a variant shows.

    Args:
        study: The study.
        variant: A variant of the study.
        seeds: Seeds under which everything is trained; at least one.
        finished: Trainings of the study.

    Returns:
        steps, and what ``mean_log`` returns.
    """
    shown = {
        training.fingerprint: training
        for seed in seeds
        for training in study.row(variant, seed).values()
    }
    steps = float(np.mean([training.num_steps for training in shown.values()]))
    logs = [finished.trainings[key]["log"] for key in shown if key in finished.trainings]
    return {"steps": steps, **mean_log(logs)}
