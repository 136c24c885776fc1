"""Result files: ``<split>/<dataset>.json`` with the metrics, ``.npz`` with every score."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from videokd.data.clip_spec import ClipSpec
from videokd.data.lists.index import VideoIndex
from videokd.data.test_views import ViewPlan
from videokd.evaluation.multi_view import Predictions
from videokd.utils.io import read_json, write_json


def write_result(
    folder: Path,
    index: VideoIndex,
    predictions: Predictions,
    views: ViewPlan,
    *,
    clip: ClipSpec,
    fingerprint: str,
    split: str = "test",
) -> dict[str, Any]:
    """Write the scores and metrics of one model on one split of a dataset; return the metrics.

    Args:
        folder: Folder of the model.
        index: Videos of the split.
        predictions: Predictions for these videos.
        views: Views of each video.
        clip: Clip spec of the views; if the model takes clips of several shapes, the main one.
        fingerprint: Hash of everything that the result depends on.
        split: "test" or "val"; the files of the two splits are kept apart.
    """
    target = folder / split / f"{index.dataset}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    paths = [index.records[i].path for i in predictions.record_ids]
    with target.with_suffix(".npz").open("wb") as file:
        np.savez_compressed(
            file,
            logits=predictions.logits,
            labels=predictions.labels,
            record_ids=predictions.record_ids,
            paths=np.array(paths, dtype=np.str_),
        )
    result = {
        "dataset": index.dataset,
        "split": index.split,
        **predictions.scores(),
        "num_videos": len(index),
        "num_used": len(predictions.labels),
        "num_missing": len(index.missing),
        "bad": [{"path": video.path, "cause": video.cause} for video in predictions.bad],
        "num_clips": views.num_clips,
        "num_crops": views.num_crops,
        # Conventions differ between toolkits, so every result stores its own.
        "clip_rule": views.clip_rule,
        "clip": asdict(clip),
        "class_names": list(index.class_names),
        "root": str(index.root.resolve()),
        "fingerprint": fingerprint,
    }
    # The json is written last: if it exists, the scores are complete.
    write_json(target, result)
    return result


def read_result(folder: Path, dataset: str, split: str = "test") -> dict[str, Any] | None:
    """Return the metrics that ``write_result`` wrote, or None if there are none."""
    path = folder / split / f"{dataset}.json"
    try:
        result: dict[str, Any] = read_json(path)
    except (OSError, json.JSONDecodeError):
        return None
    return result
