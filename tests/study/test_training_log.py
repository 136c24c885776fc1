import json

from videokd.study.training_log import describe_training


def _write(study, seed, folder, lines):
    job = next(job for job in study.jobs if (job.seed, job.training.folder) == (seed, folder))
    job.folder.mkdir(parents=True)
    text = "".join(json.dumps({"step": i, **line}) + "\n" for i, line in enumerate(lines))
    (job.folder / "metrics.jsonl").write_text(text)


def test_means_are_over_trainings_first_lines_and_last_lines(plan_study):
    study = plan_study({"mlfd": {}}, seeds=(0, 1), datasets=["UCF"])
    for seed, shift in ((0, 0.0), (1, 0.2)):
        lines = [
            {"top1": 10, "agreement": 0.1, "teacher_top1": 0.2, "feat_stage3": 2 + shift},
            {"top1": 30, "agreement": 0.5 + shift, "teacher_top1": 0.6, "feat_stage3": 1},
            {"val_top1_UCF": 77.0},
        ]
        _write(study, seed, "students/UCF", lines)
    found = describe_training(study, study.variants[0], (0, 1))
    assert found["steps"] == study.jobs[-1].training.num_steps
    assert (found["top1"], found["agreement"], found["teacher_top1"]) == (30, 60, 60)
    assert found["feat"] == {"stage3": [2.1, 1]}


def test_what_is_not_logged_is_left_out(plan_study):
    study = plan_study({"mlfd": {}}, datasets=["UCF"])
    found = describe_training(study, study.variants[0], (0,))
    assert set(found) == {"steps", "feat"}


def test_a_network_of_several_datasets_counts_once(plan_study):
    study = plan_study({"B2": {"ROW": "B2"}})
    _write(study, 0, "baselines/B2/UCF-HMDB-KINETICS", [{"top1": 12.0}])
    found = describe_training(study, study.variants[0], (0,))
    assert (found["steps"], found["top1"]) == (study.jobs[0].training.num_steps, 12)
