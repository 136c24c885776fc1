from collections import Counter

import pytest
from rich.console import Console

from videokd.config import load_config
from videokd.engine.stop import StopRequest
from videokd.engine.training_file import read_training_file, write_training_file
from videokd.study.finished import Finished
from videokd.study.study import make_study, read_variants, variant_config
from videokd.utils.errors import InputError


@pytest.fixture
def read(write_config):
    """``read({name: node}, seeds=(0, 1, 2), wanted=())``: (config, its variants)."""

    def read(variants, seeds=(0, 1, 2), wanted=()):
        cfg = load_config(write_config(VARIANTS=variants))
        return cfg, read_variants(cfg, seeds, wanted)

    return read


def test_variants_stand_in_the_order_of_the_config(read):
    _, variants = read({"mlfd": {}, "B7": {"ROW": "B7", "TITLE": "control"}, "a": {"GROUP": "g"}})
    found = [(v.name, v.title, v.group, v.row) for v in variants]
    assert found == [
        ("mlfd", "mlfd", "main", "students"),
        ("B7", "control", "main", "B7"),
        ("a", "a", "g", "students"),
    ]


def test_some_variants_can_be_picked(read):
    _, variants = read({"a": {}, "b": {}, "c": {}}, wanted=["c", "a"])
    assert [variant.name for variant in variants] == ["a", "c"]
    with pytest.raises(InputError, match="no variant 'd' in this config; there are a, b, c"):
        read({"a": {}, "b": {}, "c": {}}, wanted=["d"])


def test_a_variant_can_take_the_first_seeds_only(read):
    _, variants = read({"a": {}, "b": {"NUM_SEEDS": 2}, "c": {"NUM_SEEDS": 9}}, seeds=(5, 3, 4))
    assert [variant.seeds for variant in variants] == [(5, 3, 4), (5, 3), (5, 3, 4)]


def test_the_config_of_a_variant_has_its_options_its_seed_and_its_baselines(read):
    cfg, variants = read({"a": {"ROW": "B4", "OPTS": ["DISTILL.W_KD", 0.25]}})
    changed = variant_config(cfg, variants, 7)
    assert (changed.DISTILL.W_KD, changed.SEED, changed.BASELINES) == (0.25, 7, ["B4"])
    assert cfg.SEED == 0


def test_a_wrong_option_names_its_variant(read):
    cfg, variants = read({"a": {"OPTS": ["DISTILL.TEACHING", "live"]}})
    with pytest.raises(InputError, match=r"VARIANTS\.a: DISTILL\.TEACHING must be one of"):
        variant_config(cfg, variants, 0)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            {"ROW": "B8"},
            "a.ROW must be one of experts, joint, generalist, students, .* got 'B8'",
        ),
        ({"AGAINST": "c"}, "a.AGAINST must be one of a, or empty for the first; got 'c'"),
        ({"NUM_SEEDS": -1}, "a.NUM_SEEDS must be >= 0"),
        ({"OPTS": ["SEED", 3]}, "a.OPTS must not set SEED"),
        ({"OPTS": ["SEED=3"]}, "a.OPTS must not set SEED"),
        ({"OPTS": ["JOINT.WIDTH=8", "JOINT.WIDTH", 16]}, "a.OPTS sets JOINT.WIDTH twice"),
        ({"OPTS": ["JOINT.WIDTH"]}, "VARIANTS.a.OPTS: JOINT.WIDTH has no value"),
        ({"OPTS": ["VARIANTS.a.ROW", "B1"]}, "a.OPTS must not set VARIANTS.a.ROW"),
    ],
)
def test_an_invalid_variant_is_refused(read, node, message):
    with pytest.raises(InputError, match=message):
        read({"a": node})


@pytest.mark.parametrize("seeds", [(0, 0), (-1,), ()])
def test_seeds_are_named_once_and_not_negative(read, seeds):
    with pytest.raises(InputError, match="seeds must be >= 0 and named once each"):
        read({"a": {}}, seeds)


def test_a_config_without_variants_has_nothing_to_compare(read):
    with pytest.raises(InputError, match="VARIANTS is empty"):
        read({})


TRUNK = ["JOINT.TOPOLOGY", "trunk"]


def _folders(study, seed=0):
    return [job.training.folder for job in study.jobs if job.seed == seed]


def test_a_training_that_variants_share_is_one_job(plan_study):
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
    earlier = set()
    for job in study.jobs:
        assert earlier.issuperset(job.needs)
        earlier.add(job.folder)


def test_variants_that_share_the_data_share_its_indexes(plan_study):
    few_frames = ["DATA.NUM_FRAMES", 2]
    study = plan_study({"a": {}, "b": {"OPTS": TRUNK}, "c": {"OPTS": few_frames}}, seeds=(0, 1))
    assert study.runs["a", 0].datasets is study.runs["b", 0].datasets
    assert study.runs["a", 0].datasets is not study.runs["c", 0].datasets
    assert study.runs["a", 0].datasets is not study.runs["a", 1].datasets


def test_the_text_of_a_job_has_its_seed_folder_and_first_variants(plan_study):
    study = plan_study({name: {"ROW": "experts"} for name in ("a", "b", "c", "d")})
    assert str(study.jobs[0]) == "seed 0 experts/UCF [a, b, c, ...]"


@pytest.mark.parametrize("row", ["experts", "B1", "B2", "B3", "B4", "B5", "B7", "joint"])
def test_every_row_covers_all_datasets(plan_study, row):
    study = plan_study({"a": {"ROW": row}})
    assert list(study.row(study.variants[0], 0)) == ["UCF", "HMDB", "KINETICS"]


def test_known_scores_and_what_only_they_need_are_not_planned_again(plan_study, score):
    variants = {
        "mlfd": {"ROW": "experts"},
        "other": {"ROW": "experts", "OPTS": ["SOLVER.BETA2", 0.9]},
    }
    study = plan_study(variants, datasets=["UCF", "HMDB"])
    score(study, "mlfd", "test", right=4)
    for job in study.jobs:
        job.folder.mkdir(parents=True, exist_ok=True)
        record = read_training_file(job.folder, job.training.inputs)
        write_training_file(job.folder, {**record, "is_finished": True})
    finished = study.collect(Finished(), "test")
    cfg = next(iter(study.runs.values())).cfg

    def plan_again(split):
        console, stop = Console(quiet=True), StopRequest()
        return make_study(cfg, study.variants, console, stop, split=split, finished=finished).jobs

    left = plan_again("test")
    assert {job.training.folder for job in left} == {"experts/UCF", "experts/HMDB"}
    assert all(job.variants == ("other",) for job in left)
    assert len(plan_again("val")) == len(study.jobs)


def test_what_is_finished_comes_back_from_its_file(tmp_path):
    finished = Finished({"a": {"seconds": 1.5, "steps": 3, "log": {"feat": {}}}}, {"b": "10-"})
    finished.write(tmp_path / "finished.json")
    assert Finished.read(tmp_path / "finished.json") == finished
    assert Finished.read(tmp_path / "other.json") == Finished()
