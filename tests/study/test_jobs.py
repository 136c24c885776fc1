from collections import Counter

import pytest

TRUNK = ["JOINT.TOPOLOGY", "trunk"]


def _folders(study, seed=0):
    return [job.training.folder for job in study.jobs if job.seed == seed]


def test_what_variants_have_in_common_is_one_job(plan_study):
    study = plan_study({"mlfd": {}, "trunk": {"OPTS": TRUNK}, "B1": {"ROW": "B1", "OPTS": TRUNK}})
    counts = Counter(_folders(study))
    # The trunk is another joint teacher with other students; the experts do not know of it.
    assert counts["joint"] == counts["students/UCF"] == 2
    assert counts["experts/UCF"] == counts["experts/KINETICS"] == 1
    expert = next(job for job in study.jobs if job.training.folder == "experts/KINETICS")
    assert expert.variants == ("mlfd", "trunk", "B1")
    assert len({job.folder for job in study.jobs}) == len(study.jobs)


def test_a_baseline_of_two_variants_has_one_folder(plan_study):
    study = plan_study({"a": {"ROW": "B1"}, "b": {"ROW": "B1", "OPTS": ["DISTILL.W_KD", 0.1]}})
    a, b = (study.runs[name, 0] for name in "ab")
    trainings = [run.plan.row("B1")["UCF"] for run in (a, b)]
    assert a.plan.path(trainings[0]) == b.plan.path(trainings[1])
    assert Counter(_folders(study)) == Counter(
        ["baselines/B1/UCF", "baselines/B1/HMDB", "experts/KINETICS"]
    )


def test_only_what_a_row_needs_is_trained_and_only_the_row_is_scored(plan_study):
    study = plan_study({"B6": {"ROW": "joint"}})
    assert _folders(study) == ["experts/UCF", "experts/HMDB", "experts/KINETICS", "joint"]
    assert [job.training.folder for job in study.jobs if job.is_shown] == ["joint"]


def test_jobs_stand_by_seed_and_after_what_they_need(plan_study):
    study = plan_study({"mlfd": {}, "B5": {"ROW": "B5", "NUM_SEEDS": 1}}, seeds=(3, 1))
    assert [job.seed for job in study.jobs] == sorted((j.seed for j in study.jobs), reverse=True)
    assert "baselines/B5/UCF" in _folders(study, 3)
    assert "baselines/B5/UCF" not in _folders(study, 1)
    seen = set()
    for job in study.jobs:
        assert seen.issuperset(job.needs)
        seen.add(job.folder)


def test_variants_that_share_the_data_share_its_indexes(plan_study):
    few_frames = ["DATA.NUM_FRAMES", 2]
    study = plan_study({"a": {}, "b": {"OPTS": TRUNK}, "c": {"OPTS": few_frames}}, seeds=(0, 1))
    assert study.runs["a", 0].datasets is study.runs["b", 0].datasets
    assert study.runs["a", 0].datasets is not study.runs["c", 0].datasets
    assert study.runs["a", 0].datasets is not study.runs["a", 1].datasets


def test_a_job_says_its_seed_its_folder_and_some_of_its_variants(plan_study):
    study = plan_study({name: {"ROW": "experts"} for name in ("a", "b", "c", "d")})
    assert str(study.jobs[0]) == "seed 0 experts/UCF [a, b, c, ...]"


@pytest.mark.parametrize("row", ["experts", "B1", "B2", "B3", "B4", "B5", "B7", "joint"])
def test_every_row_covers_all_datasets(plan_study, row):
    study = plan_study({"a": {"ROW": row}})
    assert list(study.row(study.variants[0], 0)) == ["UCF", "HMDB", "KINETICS"]
