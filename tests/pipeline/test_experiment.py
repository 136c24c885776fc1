"""The whole experiment on the tiny datasets; slow, but it is what the project is for."""

import shutil
import signal
from contextlib import nullcontext

import numpy as np
import pytest
from rich.console import Console

from videokd.config import load_config
from videokd.engine.checkpoint import load_newest_checkpoint
from videokd.engine.meters import MEASURED
from videokd.engine.metrics_log import read_metrics
from videokd.engine.stop import Stopped, StopRequest
from videokd.evaluation.metrics import fuse_views
from videokd.export import Predictor
from videokd.pipeline import scoring as scoring_module
from videokd.pipeline import train as train_module
from videokd.pipeline.experiment import run_experiment
from videokd.pipeline.progress import Bar
from videokd.pipeline.run import open_run_directory, prepare_run
from videokd.utils import env
from videokd.utils.io import read_json, sha256_file

pytestmark = pytest.mark.slow

NAMES = ("UCF", "HMDB", "KINETICS")
FOLDERS = [
    *(f"experts/{name}" for name in NAMES),
    "joint",
    *(f"students/{name}" for name in NAMES),
    *("baselines/B1/UCF", "baselines/B1/HMDB"),
    *(f"baselines/{key}/UCF-HMDB-KINETICS" for key in ("B2", "B3")),
    *(f"baselines/B4/{name}" for name in NAMES),
    *(f"baselines/{key}/{name}" for name in NAMES for key in ("B5_teachers", "B5")),
    *(f"baselines/B7/{name}" for name in NAMES),
]
SOME = ["B1", "B2", "B3", "B4", "B5", "B7"]
ROWS = ["experts", "B1", "B2", "B3", "B4", "B5", "B7", "joint", "students"]


@pytest.fixture
def experiment(write_config):
    """``experiment(folder, stage="all", *overrides, **nodes)``: run it and return its folder."""

    def run(folder, stage="all", *overrides, stop=None, **nodes):
        words = ["OUTPUT_DIR", str(folder), *map(str, overrides)]
        cfg = load_config(write_config(BASELINES=SOME, **nodes), words)
        prepared = prepare_run(cfg, Console(quiet=True), stop or StopRequest())
        open_run_directory(prepared)
        run_experiment(prepared, stage)
        return folder

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Where the first test that asks leaves its run for the others."""
    return tmp_path_factory.mktemp("runs") / "whole"


@pytest.fixture
def whole(experiment, finished):
    return finished if finished.exists() else experiment(finished)


def _hashes(folder):
    return {str(p.relative_to(folder)): sha256_file(p) for p in folder.rglob("model.safetensors")}


def _models(folder):
    return read_json(folder / "results.json")["models"]


def _lines(folder):
    lines = read_metrics(folder / "metrics.jsonl")
    return [{key: x for key, x in line.items() if key not in MEASURED} for line in lines]


def test_every_stage_leaves_its_files(whole):
    assert sorted(_hashes(whole)) == sorted(f"{folder}/model.safetensors" for folder in FOLDERS)
    for folder in FOLDERS:
        lines = read_metrics(whole / folder / "metrics.jsonl")
        assert any("loss" in line for line in lines)
        assert any(key.startswith("val_top1_") for line in lines for key in line)
        assert read_json(whole / folder / "training.json")["is_finished"]
        assert not (whole / folder / "checkpoints").exists()
        if "B5_teachers" not in folder:  # not a row of the table
            assert list((whole / folder / "test").glob("*.json"))
            assert len(list((whole / folder / "test").iterdir())) % 2 == 0
    assert {"config.yaml", "results.json", "report.html"} < {path.name for path in whole.iterdir()}


def test_results_hold_all_models_on_all_datasets(whole):
    models = {model["key"]: model for model in _models(whole)}
    assert list(models) == ROWS
    for model in models.values():
        assert set(model["top1"]) == set(NAMES)
        assert all(0 <= value <= 100 for value in model["top1"].values())
        assert model["num_videos"] == {"UCF": 16, "HMDB": 20, "KINETICS": 20}
    assert models["B1"]["folders"]["KINETICS"] == "experts/KINETICS"
    assert models["B1"]["top1"]["KINETICS"] == models["experts"]["top1"]["KINETICS"]
    stages = read_json(whole / "results.json")["trainings"]
    assert [stage["name"] for stage in stages] == FOLDERS


def test_an_exported_student_scores_a_video_as_its_test_did(whole, tiny_data):
    result = read_json(whole / "students" / "UCF" / "test" / "UCF.json")
    with np.load(whole / "students" / "UCF" / "test" / "UCF.npz") as arrays:
        probs, path = fuse_views(arrays["logits"])[0], str(arrays["paths"][0])
    predictor = Predictor(whole / "export" / "UCF")
    seen = predictor.predict(f"{result['root']}/{path}", top_k=8)
    known = dict(zip(seen.labels, seen.probs, strict=True))
    assert [known[name] for name in result["class_names"]] == pytest.approx(list(probs), abs=1e-4)


def test_a_second_call_trains_tests_and_exports_nothing_anew(whole, experiment):
    files = [*whole.rglob("model.safetensors"), *whole.rglob("test/*.json")]
    files += [*whole.rglob("export/*/model.json"), *whole.rglob("metrics.jsonl")]
    before = {path: path.stat().st_mtime_ns for path in files}
    models = _models(whole)
    experiment(whole)
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert _models(whole) == models


def test_the_same_seed_gives_the_same_bytes_whatever_loads_the_data(
    whole, experiment, tmp_path, monkeypatch
):
    # This machine may have fewer cores than 2 workers and a trainer need.
    monkeypatch.setattr(env, "num_available_cores", lambda: 3)
    again = experiment(tmp_path / "again", "all", "DATA_LOADER.NUM_WORKERS", 2)
    calls = read_json(again / "experts" / "UCF" / "training.json")["calls"]
    assert [call["environment"]["num_workers"] for call in calls] == [2]
    assert _hashes(again) == _hashes(whole)
    assert _models(again) == _models(whole)


def test_another_seed_gives_other_weights(whole, experiment, tmp_path):
    other = experiment(tmp_path / "other", "experts", "SEED", 1)
    hashes = _hashes(whole)
    assert all(hashes[name] != value for name, value in _hashes(other).items())


class _StoppingBar(Bar):
    """Raises SIGINT after some step of some training, as often as ``steps`` has it."""

    steps: dict[str, list[int]] = {}

    def __init__(self, console, name, total):
        self._name = name

    def update(self, step, text):
        if step in self.steps.get(self._name, []):
            self.steps[self._name].remove(step)
            signal.raise_signal(signal.SIGINT)


def test_a_run_stopped_in_the_middle_of_stages_ends_as_one_that_was_not(
    whole, experiment, tmp_path, monkeypatch
):
    for module in (train_module, scoring_module):
        monkeypatch.setattr(
            module,
            "progress_bar",
            lambda console, name, total: nullcontext(_StoppingBar(console, name, total)),
        )
    # Test bars count videos, by batches of 8.
    stops = {"experts/HMDB": [1, 3], "joint": [7, 9], "students/UCF": [2], "test joint UCF": [8]}
    monkeypatch.setattr(_StoppingBar, "steps", {name: list(at) for name, at in stops.items()})
    folder = tmp_path / "stopped"
    num_stops = 0
    while True:
        try:
            with StopRequest() as stop:
                experiment(folder, stop=stop)
            break
        except Stopped:
            num_stops += 1
            if num_stops == 1:
                newest = load_newest_checkpoint(folder / "experts/HMDB/checkpoints")
                assert newest.state["step"] == 1
    assert num_stops == 6
    assert _hashes(folder) == _hashes(whole)
    assert _models(folder) == _models(whole)
    for name in ("experts/HMDB", "joint", "students/UCF"):
        assert _lines(folder / name) == _lines(whole / name)


def test_one_stage_can_be_trained_anew(whole, experiment, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    shutil.rmtree(copy / "students" / "HMDB")
    experiment(copy, "students")
    assert _hashes(copy) == _hashes(whole)
