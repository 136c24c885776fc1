import io

import pytest
from rich.console import Console

from videokd.engine.training_file import read_training_file, write_training_file
from videokd.pipeline.cost import CostMeter
from videokd.study.finished import Finished
from videokd.study.plan_table import training_table, variant_table

VARIANTS = {"mlfd": {}, "B1": {"ROW": "B1"}, "B6": {"ROW": "joint", "TITLE": "the teacher"}}


@pytest.fixture(autouse=True)
def passes(monkeypatch):
    """Every training costs 6,000 clip passes."""
    monkeypatch.setattr(CostMeter, "of_training", lambda self, training: 6000.0)


@pytest.fixture
def study(plan_study):
    # Two experts, T*, two students, two students alone.
    return plan_study(VARIANTS, datasets=["UCF", "HMDB"])


def _rows(table):
    text = io.StringIO()
    Console(file=text, width=120).print(table)
    lines = [line for line in text.getvalue().splitlines() if line.startswith("\u2502")]
    return [[cell.strip() for cell in line.strip("\u2502").split("\u2502")] for line in lines]


def _finish(study, folder, seconds):
    job = next(job for job in study.jobs if job.training.folder == folder)
    record = read_training_file(job.folder, job.training.inputs)
    job.folder.mkdir(parents=True)
    write_training_file(job.folder, {**record, "seconds": seconds, "is_finished": True})


def test_without_finished_trainings_there_is_no_time(study):
    assert _rows(training_table(study, Finished())) == [
        ["experts", "2", "0", "2", "12.0", "-"],
        ["joint", "1", "0", "1", "6.0", "-"],
        ["students", "2", "0", "2", "12.0", "-"],
        ["B1", "2", "0", "2", "12.0", "-"],
        ["all", "7", "0", "7", "42.0", "-"],
    ]


def test_the_time_is_that_of_finished_trainings_of_the_kind_or_of_all(study):
    _finish(study, "experts/UCF", 60.0)
    _finish(study, "students/UCF", 600.0)
    # Of the other kinds nothing is finished: 660 s for two trainings, 5.5 min for each.
    assert _rows(training_table(study, Finished())) == [
        ["experts", "2", "1", "1", "12.0", "1"],
        ["joint", "1", "0", "1", "6.0", "6"],
        ["students", "2", "1", "1", "12.0", "10"],
        ["B1", "2", "0", "2", "12.0", "11"],
        ["all", "7", "2", "5", "42.0", "28"],
    ]


def test_trainings_that_finished_elsewhere_give_the_time(study):
    known = {
        job.training.fingerprint: {"seconds": 120.0, "steps": 1, "log": {"feat": {}}}
        for job in study.jobs
        if job.training.key == "experts"
    }
    rows = _rows(training_table(study, Finished(trainings=known)))
    # The weights of experts are not here, and the joint teacher needs them.
    assert rows[0] == ["experts", "2", "2", "2", "12.0", "4"]


def test_a_variant_costs_all_that_it_needs(study):
    assert _rows(variant_table(study)) == [
        ["mlfd", "1", "30.0"],
        ["B1", "1", "12.0"],
        ["the teacher", "1", "18.0"],
    ]
