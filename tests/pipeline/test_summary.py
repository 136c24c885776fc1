import pytest
from rich.console import Console

from videokd.engine.training_file import read_training_file, write_training_file
from videokd.pipeline.summary import TITLES, accuracy_table, time_table, write_summary
from videokd.utils.io import read_json, write_json


def _show(table):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return [line.replace("│", " ").split() for line in capture.get().splitlines()]


@pytest.fixture
def run(make_run):
    """Experts tested on UCF and HMDB, the joint teacher on all; one expert's time is known."""
    run = make_run()
    tops = {"experts/UCF": ["UCF"], "experts/HMDB": ["HMDB"], "joint": ["UCF", "HMDB", "KINETICS"]}
    for folder, names in tops.items():
        for i, name in enumerate(names):
            numbers = {
                **{"top1": 50.0 + i, "top5": 90.0, "mean_class_accuracy": 49.0},
                **{"num_used": 16, "num_videos": 16, "num_missing": 0},
            }
            write_json(run.folder / folder / "test" / f"{name}.json", numbers)
    training = run.plan.find("experts/UCF")
    stage = read_training_file(run.folder / training.folder, training.inputs)
    finished = {"is_finished": True, "seconds": 12.34, "num_steps": 4, "num_parameters": 5678}
    calls = [{"peak_memory_gib": {"host": 2.0}}, {}, {"peak_memory_gib": {"host": 1.0, "gpu": 3.5}}]
    write_training_file(run.folder / training.folder, {**stage, **finished, "calls": calls})
    unfinished = run.plan.find("experts/HMDB")
    write_training_file(
        run.folder / unfinished.folder, read_training_file(run.folder / "absent", unfinished.inputs)
    )
    return run


def test_results_json_holds_what_was_tested_and_trained(run):
    summary = write_summary(run)
    assert read_json(run.folder / "results.json") == summary
    assert summary["datasets"] == ["UCF", "HMDB", "KINETICS"]
    models = {model["key"]: model for model in summary["models"]}
    assert list(models) == ["experts", "B1", "B2", "B4", "joint", "students"]
    assert all(model["title"] == TITLES[key] for key, model in models.items())
    assert models["experts"]["top1"] == {"UCF": 50.0, "HMDB": 50.0}
    assert models["joint"]["top1"] == {"UCF": 50.0, "HMDB": 51.0, "KINETICS": 52.0}
    assert models["joint"]["folders"] == dict.fromkeys(("UCF", "HMDB", "KINETICS"), "joint")
    assert models["students"]["top1"] == {}
    expected = {"name": "experts/UCF", "seconds": 12.34, "num_steps": 4, "num_parameters": 5678}
    assert summary["trainings"] == [{**expected, "peak_memory_gib": {"host": 2.0, "gpu": 3.5}}]


def test_the_accuracy_table_has_a_mean_where_all_datasets_were_tested(run):
    rows = _show(accuracy_table(write_summary(run)))
    assert ["Joint", "teacher", "(T*)", "50.0", "51.0", "52.0", "51.0"] in rows
    assert ["Experts", "(T_i)", "50.0", "50.0", "-", "-"] in rows
    assert ["MLFD", "students", "-", "-", "-", "-"] in rows


def test_the_accuracy_table_says_where_videos_are_left_out(run):
    assert accuracy_table(write_summary(run)).caption is None
    path = run.folder / "joint" / "test" / "HMDB.json"
    write_json(path, {**read_json(path), "num_used": 13, "num_videos": 15, "num_missing": 1})
    table = accuracy_table(write_summary(run))
    assert table.caption == "HMDB: scored on 13 of 16 listed videos"


def test_the_time_table_has_a_sum(run):
    rows = _show(time_table(write_summary(run)))
    assert ["experts/UCF", "4", "12.3", "5,678", "2.00", "3.50"] in rows
    assert ["all", "12.3"] in rows
