"""The study tool as its user calls it; the slow tests train a tiny study from start to end."""

import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videokd.utils.errors import InputError, RunError

TOOL = Path(__file__).parents[2] / "tools" / "run_study.py"
VARIANTS = {
    "mlfd": {},
    "B1": {"ROW": "B1"},
    "B6": {"ROW": "joint"},
    "no_maps": {"GROUP": "levels", "NUM_SEEDS": 1, "OPTS": ["DISTILL.W_FEAT", 0.0]},
}


@pytest.fixture
def config(write_config):
    return write_config(["UCF", "HMDB"], VARIANTS=VARIANTS)


def _command(config, *words):
    return [sys.executable, str(TOOL), "--config-file", str(config), *map(str, words)]


def _run(config, *words):
    return subprocess.run(
        _command(config, *words), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def main():
    spec = importlib.util.spec_from_file_location("run_study_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.main
    for handler in logging.getLogger("videokd").handlers:
        handler.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--seeds", "0", "--variants", "B9"],
            "no variant 'B9' in this config; there are mlfd, B1",
        ),
        (["--seeds", "0", "0"], "seeds must be >= 0 and named once each"),
        (["--seeds", "0", "--jobs", "0"], "--jobs must be >= 1, got 0"),
        (["--seeds", "0", "--opts", "VARIANTS.B1.ROW", "B8"], "VARIANTS.B1.ROW must be one of"),
    ],
)
def test_a_wrong_call_is_answered_before_anything_is_done(main, config, tmp_path, words, message):
    with pytest.raises(InputError, match=message):
        main(["--config-file", str(config), *words])
    assert not (tmp_path / "run").exists()


def test_the_plan_is_printed_without_training(main, config, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["--config-file", str(config), "--seeds", "0", "1", "--plan"]) == 0
    shown = capsys.readouterr().out
    # Per seed two experts and B1s, T* and two students; two students without maps.
    assert "Study: 4 variants, 16 trainings" in shown
    assert "Clip passes of each variant" in shown
    assert not (tmp_path / "run" / "trainings").exists()


def test_when_all_workers_end_early_what_is_finished_is_written(
    main, config, tmp_path, monkeypatch
):
    def fail(*args, **options):
        raise RunError("all workers ended early")

    monkeypatch.setattr("videokd.study.work.run_jobs", fail)
    output = tmp_path / "tiny"
    words = ["--seeds", "0", "--variants", "B1", "--output", str(output)]
    with pytest.raises(RunError, match="all workers ended early"):
        main(["--config-file", str(config), *words])
    assert json.loads((output / "finished.json").read_text()) == {"trainings": {}, "scores": {}}


@pytest.mark.slow
def test_a_study_is_trained_once_scored_on_both_parts_and_written(config, tmp_path):
    output = tmp_path / "results" / "tiny"
    words = ("--seeds", 0, 1, "--output", output)
    first = _run(config, *words, "--jobs", 2)
    assert first.returncode == 0, first.stdout + first.stderr
    trainings = tmp_path / "run" / "trainings"
    stages = {path: path.stat().st_mtime_ns for path in trainings.glob("*/training.json")}
    # Per seed two experts and B1s, T* and two students; two students without maps.
    assert len(stages) == 2 * 7 + 2
    assert list(trainings.glob("*/val/*.json"))
    assert not list(trainings.glob("*/test"))
    assert {path.name for path in output.iterdir()} == {"finished.json", "forest.png"}

    second = _run(config, *words, "--split", "test")
    assert second.returncode == 0, second.stdout + second.stderr
    assert {path: path.stat().st_mtime_ns for path in trainings.glob("*/training.json")} == stages

    results = json.loads(output.with_suffix(".json").read_text(), parse_constant=pytest.fail)
    assert (results["split"], results["seeds"], results["missing"]) == ("test", [0, 1], [])
    assert {name: len(v["mean"]["top1"]) for name, v in results["variants"].items()} == {
        **{"mlfd": 2, "B1": 2, "B6": 2},
        "no_maps": 1,
    }
    for name in ("B1", "B6", "no_maps"):
        rows = [c["dataset"] for c in results["comparisons"] if c["b"] == name]
        assert rows == ["UCF", "HMDB", "mean"]
    page = output.with_suffix(".md").read_text()
    assert page.index("](tiny/forest.png)") < page.index("- mlfd ") < page.index("## Accuracy")
    assert "## Calibration" in page
    assert (output / "forest.png").exists()

    # Elsewhere, without the trainings: nothing is trained again and no number changes.
    (tmp_path / "run").rename(tmp_path / "gone")
    third = _run(config, *words, "--split", "test")
    assert third.returncode == 0, third.stdout + third.stderr
    assert not list(tmp_path.glob("run/trainings/*/training.json"))
    again = json.loads(output.with_suffix(".json").read_text())
    for key in ("variants", "comparisons", "cost", "training", "missing"):
        assert again[key] == results[key]


@pytest.mark.slow
def test_a_failed_training_is_named_and_the_rest_is_shown(config, tmp_path):
    # A rate that makes the joint teacher's weights overflow; experts and B1 have their own.
    rates = [f"{s}.{n}.BASE_LR" for s in ("EXPERTS", "STUDENTS") for n in ("UCF", "HMDB")]
    opts = [word for key in rates for word in (key, "0.001")]
    output = tmp_path / "tiny"
    words = ("--seeds", 0, "--output", output, "--opts", "SOLVER.BASE_LR", "1000.0", *opts)
    call = _run(config, *words)
    assert call.returncode == 1, call.stdout + call.stderr
    assert "seed 0 joint [mlfd, B6, no_maps] failed in" in " ".join(call.stdout.split())
    results = json.loads(output.with_suffix(".json").read_text())
    assert list(results["variants"]) == ["B1"]
    missing = {(row["variant"], row["seed"]) for row in results["missing"]}
    assert missing == {("mlfd", 0), ("B6", 0), ("no_maps", 0)}


@pytest.mark.slow
def test_a_signal_stops_with_a_checkpoint_and_the_same_command_goes_on(config, tmp_path):
    output = tmp_path / "tiny"
    words = ("--seeds", 0, 1, "--variants", "B1", "--output", output)
    words += ("--opts", "SOLVER.MAX_EPOCH", 20)
    command = _command(config, *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as call:
        # The third training is the first of the second seed.
        while len(list((tmp_path / "run").glob("trainings/*/metrics.jsonl"))) < 3:
            assert call.poll() is None
            time.sleep(0.05)
        os.kill(call.pid, signal.SIGTERM)
        text, _ = call.communicate(timeout=60)
    assert call.returncode == 75, text
    assert list((tmp_path / "run").glob("trainings/*/checkpoints/*"))
    results = json.loads(output.with_suffix(".json").read_text())
    assert results["seeds"] == [0]
    assert results["missing"] == [{"variant": "B1", "seed": 1}]
    again = _run(config, *words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "going on at step" in again.stdout
    assert json.loads(output.with_suffix(".json").read_text())["seeds"] == [0, 1]
