import json

import pytest

from videokd.config import load_config
from videokd.engine.training_file import read_training_file, write_training_file
from videokd.study.finished import Finished
from videokd.study.results import describe_training, list_changed_settings, make_results
from videokd.utils.errors import InputError
from videokd.utils.io import write_json

OTHER = {"ROW": "experts", "OPTS": ["SOLVER.BETA2", 0.9], "GROUP": "solver", "NUM_SEEDS": 1}


def _make(study, split="test"):
    cfg = next(iter(study.runs.values())).cfg
    finished = study.collect(Finished(), split)
    return make_results(cfg, study, split, finished, command="study", wall_sec=1.5)


def test_results_of_one_seed_have_no_spread_and_are_plain_json(plan_study, score, tmp_path):
    study = plan_study({"mlfd": {"ROW": "experts"}, "other": OTHER})
    score(study, "mlfd", "test", right=4)
    score(study, "other", "test", right=2)
    results = _make(study)
    of_ucf = results["variants"]["mlfd"]["UCF"]
    assert of_ucf == {"top1_mean": 25, "top1_std": None, "top1": [25], "num_videos": 16}
    assert results["variants"]["mlfd"]["mean"]["top1"] == pytest.approx([(25 + 20 + 20) / 3])
    (of_mean,) = [c for c in results["comparisons"] if c["dataset"] == "mean"]
    assert of_mean["difference"] == pytest.approx((12.5 + 10 + 10) / 3)
    assert results["definitions"]["other"]["opts"] == ["SOLVER.BETA2", 0.9]
    write_json(tmp_path / "results.json", results)  # which refuses nan


def test_an_unscored_variant_is_missing_and_in_no_number(plan_study, score):
    study = plan_study({"mlfd": {"ROW": "experts"}, "other": OTHER})
    score(study, "other", "val", right=2)
    results = _make(study, "val")
    assert list(results["variants"]) == list(results["definitions"]) == ["other"]
    assert results["missing"] == [{"variant": "mlfd", "seed": 0}]
    assert results["comparisons"] == []
    with pytest.raises(InputError, match="no variant is trained and scored"):
        _make(study, "test")


def test_the_time_is_summed_over_trainings_and_kinds(plan_study, score):
    study = plan_study({"mlfd": {"ROW": "experts"}, "B6": {"ROW": "joint"}})
    score(study, "mlfd", "test", right=4)
    for job in study.jobs:
        _finish(job, seconds=10.0)
    seconds = _make(study)["seconds"]
    assert seconds["wall"] == 1.5
    assert seconds["training"] == 40
    assert seconds["by_kind"] == {
        "experts": {"num_trainings": 3, "seconds": 30},
        "joint": {"num_trainings": 1, "seconds": 10},
    }


def test_changed_settings_are_those_that_a_user_set(write_config):
    cfg = load_config(write_config(["UCF"], VARIANTS={"a": {"ROW": "B1"}}))
    changed = list_changed_settings(cfg)
    assert changed["JOINT.WIDTH"] == 8
    assert changed["STUDENTS.UCF.ARCH"] == "r3d_18"
    # What the config sets to its default, and what the page shows elsewhere.
    assert "EXPERTS.UCF.ARCH" not in changed
    assert not any(key.startswith("VARIANTS") for key in changed)


def _finish(job, seconds=1.0):
    record = read_training_file(job.folder, job.training.inputs)
    job.folder.mkdir(parents=True, exist_ok=True)
    write_training_file(job.folder, {**record, "seconds": seconds, "is_finished": True})


def _write_log(study, seed, folder, lines):
    job = next(job for job in study.jobs if (job.seed, job.training.folder) == (seed, folder))
    job.folder.mkdir(parents=True)
    text = "".join(json.dumps({"step": i, **line}) + "\n" for i, line in enumerate(lines))
    (job.folder / "metrics.jsonl").write_text(text)
    _finish(job)


def test_means_are_over_trainings_first_lines_and_last_lines(plan_study):
    study = plan_study({"mlfd": {}}, seeds=(0, 1), datasets=["UCF"])
    for seed, shift in ((0, 0.0), (1, 0.2)):
        lines = [
            {"top1": 10, "agreement": 0.1, "teacher_top1": 0.2, "feat_stage3": 2 + shift},
            {"top1": 30, "agreement": 0.5 + shift, "teacher_top1": 0.6, "feat_stage3": 1},
            {"val_top1_UCF": 77.0},
        ]
        _write_log(study, seed, "students/UCF", lines)
    found = describe_training(study, study.variants[0], (0, 1), study.collect(Finished(), "test"))
    assert found["steps"] == study.jobs[-1].training.num_steps
    assert (found["top1"], found["agreement"], found["teacher_top1"]) == (30, 60, 60)
    assert found["feat"] == {"stage3": [2.1, 1]}


def test_values_in_no_log_are_left_out(plan_study):
    study = plan_study({"mlfd": {}}, datasets=["UCF"])
    found = describe_training(study, study.variants[0], (0,), study.collect(Finished(), "test"))
    assert set(found) == {"steps", "feat"}


def test_a_network_of_several_datasets_counts_once(plan_study):
    study = plan_study({"B2": {"ROW": "B2"}})
    _write_log(study, 0, "baselines/B2/UCF-HMDB-KINETICS", [{"top1": 12.0}])
    found = describe_training(study, study.variants[0], (0,), study.collect(Finished(), "test"))
    assert (found["steps"], found["top1"]) == (study.jobs[0].training.num_steps, 12)
