import numpy as np
import pytest

from videokd.data.test_views import ViewPlan
from videokd.evaluation.multi_view import Predictions
from videokd.evaluation.results import write_result
from videokd.study.analysis.analyse import write_analysis
from videokd.study.analysis.embedding_quality import knn_accuracy, linear_cka
from videokd.study.analysis.networks import extract_features
from videokd.study.markdown import format_seeds
from videokd.utils.errors import InputError

SEEDS = (3, 7)


def write_scores(run, training, name, *, num_skipped=0):
    """Score a training on the test videos of a dataset at random."""
    index = run.datasets[name].test
    labels = np.array([record.label for record in index.records])
    logits = np.random.default_rng(run.cfg.SEED).normal(size=(len(labels), 2, index.num_classes))
    used = slice(num_skipped, None)
    predictions = Predictions(
        logits[used].astype(np.float32), labels[used], np.arange(len(labels))[used], ()
    )
    options = {"clip": training.clips.main, "fingerprint": "f"}
    write_result(
        run.plan.path(training), index, predictions, ViewPlan(2, 1, "segment_centres"), **options
    )


@pytest.fixture
def make_runs(make_run, tmp_path):
    """``make_runs(*overrides, ...)``: scored, with fresh weights; KINETICS's B1 is its expert."""

    def make(*overrides, seeds=SEEDS, datasets=("UCF", "KINETICS")):
        runs = {}
        for seed in seeds:
            words = ["OUTPUT_DIR", str(tmp_path / f"run{seed}"), "SEED", str(seed), *overrides]
            runs[seed] = run = make_run(*words, datasets=datasets)
            for training in run.plan.trainings:
                for name in training.tested_on:
                    write_scores(run, training, name)
        return runs

    return make


def rows_of(section, *names):
    """Return the cells after ``names`` of the row of the section's table that starts with them."""
    lines = [line for line in section.text.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return next(row[len(names) :] for row in table if tuple(row[: len(names)]) == names)


def test_the_analysis_has_its_numbers_from_the_statistics_and_its_pictures(make_runs, tmp_path):
    runs = make_runs("JOINT.LEVELS", "['stage3']")
    pictures = tmp_path / "study" / "pictures"
    sections = {section.title: section for section in write_analysis(runs, pictures)}
    assert list(sections) == [
        "Likeness of features (CKA)",
        "Embeddings (t-SNE and k-NN)",
        "Errors inherited from T*",
        "Calibration",
        "Change per class",
    ]
    named = [name for section in sections.values() for name in section.pictures]
    assert sorted(named) == sorted(path.name for path in pictures.iterdir())
    assert all((pictures / name).stat().st_size < 150_000 for name in named)

    def features(run, key, owner, name, split="test"):
        return extract_features(run, run.plan.row(key)[owner], name, split)

    likeness = sections["Likeness of features (CKA)"]
    expected = [
        format_seeds(
            (
                linear_cka(
                    features(run, "students", "UCF", "UCF").levels["stage3"],
                    features(run, key, owner, "UCF").levels["stage3"],
                )
                for run in runs.values()
            ),
            digits=2,
        )
        for key, owner in (("joint", "UCF"), ("experts", "UCF"), ("experts", "KINETICS"))
    ]
    assert rows_of(likeness, "UCF", "stage3", "student") == expected
    assert rows_of(likeness, "KINETICS", "embedding", "B1")[2] == "1.00 +- 0.00"
    assert "B1 of KINETICS is the very expert that T* fuses" in likeness.text

    neighbours = []
    for run in runs.values():
        train, test = (features(run, "B1", "UCF", "UCF", split) for split in ("train", "test"))
        pair = [x for f in (train, test) for x in (f.levels["embedding"], f.labels)]
        neighbours.append(knn_accuracy(*pair, k=5))
    cells = rows_of(sections["Embeddings (t-SNE and k-NN)"], "UCF")
    assert cells[3] == format_seeds(neighbours)


def test_a_run_without_b1_is_read_without_it(make_runs, tmp_path):
    runs = make_runs("BASELINES", "['B4']", seeds=(3,), datasets=("UCF",))
    sections = write_analysis(runs, tmp_path / "pictures")
    assert len(sections) == 4
    for section in sections:
        table = [line for line in section.text.splitlines() if line.startswith("|")]
        assert not any("B1" in line for line in table)
    assert not (tmp_path / "pictures" / "classes.png").exists()


def test_what_is_not_scored_is_named_with_what_to_run(make_runs, tmp_path):
    runs = make_runs()
    (runs[7].plan.path(runs[7].plan.find("baselines/B1/UCF")) / "test" / "UCF.json").unlink()
    with pytest.raises(InputError, match=r"run7/baselines/B1/UCF .* no scores .* --stage test"):
        write_analysis(runs, tmp_path / "pictures")
    assert not (tmp_path / "pictures").exists()


def test_scores_of_different_videos_are_not_compared(make_runs, tmp_path):
    runs = make_runs(seeds=(3,))
    write_scores(runs[3], runs[3].plan.find("students/UCF"), "UCF", num_skipped=1)
    with pytest.raises(InputError, match="UCF: the models are scored on 2 different sets"):
        write_analysis(runs, tmp_path / "pictures")
