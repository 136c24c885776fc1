"""Record of a study's finished trainings, with which it goes on where their folders are gone.

``OUTPUT/finished.json`` lies beside the page. Trainings and scores are found by their fingerprints,
so a changed option, video list or number of views makes them unknown. Paths of videos are not kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from videokd.engine.metrics_log import read_metrics
from videokd.engine.training_file import read_training_file
from videokd.pipeline.cost import list_chain
from videokd.pipeline.run import Run
from videokd.pipeline.scoring import has_score, score_fingerprint
from videokd.pipeline.training import Training
from videokd.report.results import read_scores
from videokd.study.analysis.predictions import decide
from videokd.utils.errors import InputError
from videokd.utils.io import read_json, write_json

# Terms of the log, each kept by its last value; those in shares are of clips, 0 to 1.
_TERMS = ("top1", "agreement", "teacher_top1")


@dataclass
class Finished:
    """Finished trainings and their scores on one split."""

    trainings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Fingerprint -> seconds, steps, parameters, and log: what ``_summarise_log`` returns."""
    scores: dict[str, str] = field(default_factory=dict)
    """Fingerprint of a score -> one character per video of the split, in the order of its index:
    1 right, 0 wrong, - not readable."""

    @classmethod
    def read(cls, path: Path) -> "Finished":
        """Read a file that ``write`` wrote; nothing is known without one.

        Raises:
            InputError: The file is damaged or of another version.
        """
        if not path.exists():
            return cls()
        try:
            known = read_json(path)
            trainings, scores = dict(known["trainings"]), dict(known["scores"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is not a record of finished trainings of this version; delete it, or "
                "name another --output"
            ) from error
        return cls(trainings, scores)

    def write(self, path: Path) -> None:
        """Write everything that is known."""
        write_json(path, {"trainings": self.trainings, "scores": self.scores})

    def has(self, run: Run, training: Training, split: str, *, is_shown: bool) -> bool:
        """Return whether a training is known and, if it is shown, its scores."""
        if training.fingerprint not in self.trainings:
            return False
        names = training.tested_on if is_shown else ()
        return all(score_fingerprint(run, training, name, split) in self.scores for name in names)

    def collect(self, run: Run, training: Training, split: str) -> None:
        """Add what is in the folders of a training and of those that it needs."""
        for one in list_chain(training):
            folder = run.plan.path(one)
            record = read_training_file(folder, one.inputs)
            if one.fingerprint not in self.trainings and record["is_finished"]:
                self.trainings[one.fingerprint] = {
                    "seconds": record["seconds"],
                    "steps": one.num_steps,
                    "log": _summarise_log(folder),
                }
        for name in training.tested_on:
            key = score_fingerprint(run, training, name, split)
            if key not in self.scores and has_score(run, training, name, split):
                answers = _read_answers(run, training, name, split)
                if answers:
                    self.scores[key] = answers


def _read_answers(run: Run, training: Training, name: str, split: str) -> str:
    scored = read_scores(run.plan.path(training), name, split)
    if scored is None:
        return ""
    is_right = decide(scored.probs) == scored.labels
    known = dict(zip(scored.paths, is_right.tolist(), strict=True))
    records = run.datasets[name].index(split).records
    return "".join("-" if r.path not in known else "01"[known[r.path]] for r in records)


def _summarise_log(folder: Path) -> dict[str, Any]:
    """Return the last value of each term, and feat: level -> [first, last], of those in the log."""
    log = read_metrics(folder / "metrics.jsonl")
    found: dict[str, Any] = {}
    for name in _TERMS:
        values = [line[name] for line in log if name in line]
        if values:
            found[name] = values[-1]
    feat: dict[str, list[float]] = {}
    for line in log:
        for key, value in line.items():
            if key.startswith("feat_"):
                level = key.removeprefix("feat_")
                feat[level] = [feat.get(level, [value])[0], value]
    return {**found, "feat": feat}


def mean_log(logs: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over trainings of what ``Finished.trainings`` holds of their logs.

    Returns:
        top1, agreement and teacher_top1 in percent of clips, of those in any log; feat: level ->
        [first, last].
    """
    found: dict[str, Any] = {}
    for name in _TERMS:
        values = [log[name] for log in logs if name in log]
        if values:
            found[name] = float(np.mean(values)) * (1 if name == "top1" else 100)
    levels = dict.fromkeys(level for log in logs for level in log["feat"])
    found["feat"] = {}
    for level in levels:
        ends = [log["feat"][level] for log in logs if level in log["feat"]]
        found["feat"][level] = np.mean(ends, axis=0).tolist()
    return found
