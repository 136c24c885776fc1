"""Analysis of a study's networks: features, errors, calibration and per-class accuracy.

Each section compares the students with B1, the same networks trained alone, and with T*. A run
without B1 is analysed without it.
"""

from collections.abc import Mapping
from pathlib import Path

from videokd.pipeline.run import Run
from videokd.study.analysis.embeddings import read_neighbours, read_similarity
from videokd.study.analysis.networks import (
    describe_fused_students,
    find_trainings,
    read_all_scores,
)
from videokd.study.analysis.scores import (
    read_calibration,
    read_class_changes,
    read_inheritance,
)
from videokd.study.markdown import Section

__all__ = ["Section", "write_analysis"]


def write_analysis(runs: Mapping[int, Run], folder: Path) -> list[Section]:
    """Draw the pictures of the analysis and return its sections.

    Features are extracted once and stored in the run directories, see ``extract_features``.

    Args:
        runs: Seed -> run of one config, trained and scored on the test split; at least one.
        folder: Output folder of the pictures; created if missing.

    Raises:
        InputError: A network is not trained or not scored.
        Stopped: A signal arrived; the same call resumes.
    """
    # Missing scores raise here, before minutes of feature extraction.
    scores = read_all_scores(runs)
    first = next(iter(runs.values()))
    folder.mkdir(parents=True, exist_ok=True)
    sections = [
        read_similarity(runs, folder),
        read_neighbours(runs, folder),
        read_inheritance(scores, folder, remark=describe_fused_students(first)),
        read_calibration(scores, folder),
    ]
    if "B1" in find_trainings(first):
        sections.append(read_class_changes(scores, folder))
    return sections
