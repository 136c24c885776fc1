"""Networks of the feature analysis: experts, T*, students and, if trained, B1."""

from collections.abc import Mapping

from videokd.pipeline.run import Run
from videokd.pipeline.training import Training
from videokd.report.results import Scored, read_scores
from videokd.utils.errors import InputError

TITLES = {"experts": "expert", "joint": "T*", "students": "student", "B1": "B1"}
# Rows of a student and of the same network trained alone.
STUDENT_KEYS = ("students", "B1")

Scores = dict[str, dict[str, list[Scored]]]
"""Dataset -> key of ``TITLES`` -> scores of each seed."""


def find_trainings(run: Run) -> dict[str, dict[str, Training]]:
    """Return key of ``TITLES`` -> dataset -> training.

    Args:
        run: The run; B1 is left out if the run does not train it.
    """
    return {key: run.plan.row(key) for key in TITLES if key in run.plan.rows}


def read_all_scores(runs: Mapping[int, Run]) -> Scores:
    """Read the predictions of T*, students and B1 on the test splits, averaged over views.

    Args:
        runs: Seed -> run.

    Raises:
        InputError: A network is not scored, or is scored on other videos than the rest.
    """
    scores: Scores = {}
    for run in runs.values():
        for key, trainings in find_trainings(run).items():
            if key == "experts":
                continue
            for name, training in trainings.items():
                found = _read(run, training, name)
                scores.setdefault(name, {}).setdefault(key, []).append(found)
    for name, of_dataset in scores.items():
        videos = {scored.paths for of_key in of_dataset.values() for scored in of_key}
        if len(videos) > 1:
            raise InputError(
                f"{name}: the models are scored on {len(videos)} different sets of test videos; "
                "score them all anew on one"
            )
    return scores


def describe_fused_students(run: Run) -> str:
    """Return a sentence that names the datasets whose B1 is an expert of T*; "" for none."""
    trainings = find_trainings(run)
    names = [
        name
        for name, training in trainings.get("B1", {}).items()
        if training.fingerprint in {expert.fingerprint for expert in trainings["joint"][name].needs}
    ]
    if not names:
        return ""
    return f" B1 of {', '.join(names)} is the very expert that T* fuses: there T* takes after B1."


def _read(run: Run, training: Training, name: str) -> Scored:
    folder = run.plan.path(training)
    found = read_scores(folder, name)
    if found is None:
        raise InputError(
            f"{folder} ({training.folder}) has no scores of the test split of {name}; run "
            "train_net.py --stage test, or run_study.py --split test, first"
        )
    return found
