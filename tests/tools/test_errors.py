"""What a user does wrong is answered with one line that says what, and what to do."""

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch import nn

from videokd.cli.common import own_run_directory, run_tool
from videokd.engine.checkpoint import save_weights
from videokd.export import student as student_export
from videokd.utils.lock import lock_folder

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch, capsys):
    """``tool(name, *words)``: run a tool as its command line does; its code and its stderr."""

    def run(name, *words):
        spec = importlib.util.spec_from_file_location(f"{name}_tool", TOOLS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        with pytest.raises(SystemExit, match=r"^\d+$") as caught:
            run_tool(module.main)
        return caught.value.code, capsys.readouterr().err

    yield run
    for handler in logging.getLogger("videokd").handlers:
        handler.close()


@pytest.fixture
def config(write_config):
    """An experiment of one dataset."""
    return write_config(["UCF"])


@pytest.fixture
def own_data(tiny_data, tmp_path):
    """A copy of the UCF-style data that may be damaged, as (videos, lists, overrides)."""
    videos, lists = tmp_path / "videos", tmp_path / "lists"
    for target, source in ((videos, "UCF-101"), (lists, "ucfTrainTestlist")):
        for path in (tiny_data / "ucf_style" / source).rglob("*"):
            if path.is_file():
                copy = target / path.relative_to(tiny_data / "ucf_style" / source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    overrides = ["DATASETS.UCF.ROOT", videos, "DATASETS.UCF.ANNOTATIONS", lists]
    return videos, lists, [*overrides, "DATA.FRAME_CACHE", "''"]


def assert_answer(answer, code, *parts):
    assert answer[0] == code, answer[1]
    assert answer[1].startswith("error: ")
    assert answer[1].count("\n") == 1, answer[1]
    for part in parts:
        assert part in answer[1]


def test_a_wrong_config_key(tool, config):
    answer = tool("train_net", "--cfg", config, "SOLVER.MAX_EPOCHS", 3)
    assert_answer(answer, 2, "unknown key SOLVER.MAX_EPOCHS; did you mean SOLVER.MAX_EPOCH?")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--resume"], "--resume is no option here: the same command goes on from the last check"),
        (["--auto-resume", "True"], "the same command goes on from the last checkpoint"),
        (["--num-gpus", 8], "--num-gpus is no option here: start it with `torchrun"),
        (["--work-dir=x"], "write OUTPUT_DIR DIR"),
    ],
)
def test_an_option_of_another_tool(tool, config, words, part):
    assert_answer(tool("train_net", "--cfg", config, *words), 2, part)


def test_a_missing_config(tool, tmp_path):
    answer = tool("train_net", "--cfg", tmp_path / "no.yaml")
    assert_answer(answer, 2, "no.yaml cannot be read: No such file")


def test_a_name_that_torch_cannot_hold(tool, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("DATASETS: {train: {}}\nEXPERTS: {train: {}}\nSTUDENTS: {train: {}}\n")
    assert_answer(tool("train_net", "--cfg", path), 2, "DATASETS.train", "take another, like TRAIN")


def test_a_missing_dataset_folder(tool, config, tmp_path):
    answer = tool("train_net", "--cfg", config, "DATASETS.UCF.ROOT", tmp_path / "no")
    assert_answer(answer, 2, f"UCF: root {tmp_path / 'no'} is not a folder")


@pytest.mark.parametrize("key", ["ROOT", "ANNOTATIONS"])
def test_a_folder_that_is_not_set(tool, config, key):
    answer = tool("train_net", "--cfg", config, f"DATASETS.UCF.{key}", "")
    assert_answer(answer, 2, f"DATASETS.UCF.{key} is empty; set it to")


def test_lists_without_a_single_video(tool, config, tmp_path):
    (tmp_path / "empty").mkdir()
    answer = tool("train_net", "--cfg", config, "DATASETS.UCF.ROOT", tmp_path / "empty")
    assert_answer(
        answer, 2, "UCF split1/train: 0 videos of 24 listed exist under", "check root and layout"
    )


def test_more_missing_videos_than_allowed(tool, config, own_data):
    videos, _, overrides = own_data
    gone = sorted(videos.rglob("*_g05_*.avi"))[0]
    gone.unlink()
    answer = tool("train_net", "--cfg", config, *overrides)
    assert_answer(
        answer, 2, "1 of 24 listed videos are missing", gone.name, "MAX_BAD_FRACTION allows 0.01"
    )


def test_a_label_outside_the_class_list(tool, config, own_data):
    _, lists, overrides = own_data
    path = lists / "trainlist01.txt"
    path.write_text(path.read_text().replace(" 8", " 9"))
    answer = tool("train_net", "--cfg", config, *overrides)
    assert_answer(answer, 2, "trainlist01.txt row 22: label 9 but", "(allowed are 1 .. 8)")


def test_more_unreadable_training_videos_than_allowed(tool, config, own_data, tmp_path):
    videos, _, overrides = own_data
    for path in videos.rglob("*_g0[34]_*.avi"):
        path.write_bytes(path.read_bytes()[:100])
    answer = tool("train_net", "--cfg", config, "--stage", "experts", *overrides)
    assert_answer(
        answer, 1, "unreadable videos, more than the 0 allowed by DATA.MAX_BAD_FRACTION", "_g0"
    )
    # More are allowed now, and the run goes on.
    more = ["DATA.MAX_BAD_FRACTION", 1.0]
    assert tool("train_net", "--cfg", config, "--stage", "experts", *overrides, *more) == (0, "")
    log = (tmp_path / "run" / "run.log").read_text()
    assert "skipped an unreadable video" in log
    assert "_g0" in log


def test_more_unreadable_held_out_videos_than_allowed(tool, config, own_data):
    # What group is held out is drawn by the seed.
    videos, _, overrides = own_data
    for path in videos.rglob("*_g05_*.avi"):
        path.write_bytes(b"")
    answer = tool("train_net", "--cfg", config, "--stage", "experts", *overrides)
    assert_answer(answer, 2, "UCF val: 8 of 8 videos cannot be read", "_g05_", "empty file")
    more = [*overrides, "DATA.MAX_BAD_FRACTION", 1.0]
    assert tool("train_net", "--cfg", config, "--stage", "experts", *more) == (0, "")


def test_more_unreadable_test_videos_than_allowed(tool, config, own_data):
    videos, _, overrides = own_data
    bad = sorted(videos.rglob("*_g01_*.avi"))[0]
    assert tool("train_net", "--cfg", config, "--stage", "experts", *overrides) == (0, "")
    bad.write_bytes(b"")
    words = ["--model", "experts/UCF", *overrides]
    answer = tool("test_net", "--cfg", config, *words)
    assert_answer(
        answer, 2, "UCF test: 1 of 16 videos cannot be read", bad.name, "empty file", "allows 0.01"
    )
    assert tool("test_net", "--cfg", config, *words, "DATA.MAX_BAD_FRACTION", 0.1) == (0, "")


def test_a_checkpoint_of_another_architecture(tool, config, tmp_path):
    save_weights(tmp_path / "w.safetensors", nn.Linear(3, 2).state_dict())
    words = ["--model", "students/UCF", "--checkpoint"]
    answer = tool("test_net", "--cfg", config, *words, tmp_path / "w.safetensors")
    assert_answer(
        answer, 2, "w.safetensors are of another architecture", "use the config that trained them"
    )
    answer = tool("test_net", "--cfg", config, *words, tmp_path / "no.safetensors")
    assert_answer(answer, 2, "no.safetensors cannot be read")


def test_an_unknown_model(tool, config):
    answer = tool("test_net", "--cfg", config, "--model", "student/UCF")
    assert_answer(answer, 2, "no model 'student/UCF'", "there are experts/UCF, joint, students/UCF")


def test_a_model_that_is_not_trained(tool, config):
    answer = tool("test_net", "--cfg", config, "--model", "students/UCF")
    assert_answer(answer, 2, "students/UCF is not trained yet; run --stage students first")


def test_an_output_directory_of_another_config(tool, config):
    assert tool("train_net", "--cfg", config, "--stage", "experts") == (0, "")
    answer = tool("train_net", "--cfg", config, "SOLVER.WEIGHT_DECAY", 0.1)
    difference = "SOLVER.WEIGHT_DECAY was 0.05, is 0.1"
    assert_answer(answer, 2, "experts/UCF holds", difference, "choose another OUTPUT_DIR or delete")


def test_an_output_directory_that_is_a_file(tool, config):
    assert_answer(
        tool("train_net", "--cfg", config, "OUTPUT_DIR", config), 1, "File exists", str(config)
    )


def test_an_output_directory_that_another_training_is_at_work_in(
    tool, config, tmp_path, monkeypatch
):
    words = ["train_net", "--cfg", config, "--stage", "report"]
    with lock_folder(tmp_path / "run"):
        answer = tool(*words)
        assert_answer(answer, 2, f"{tmp_path / 'run'} is in use by process {os.getpid()} on")
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["lock"]
        assert tool(*words, "--dry-run") == (0, "")
        # The others of one training come in with the first.
        monkeypatch.setenv("RANK", "1")
        with own_run_directory(tmp_path / "run"):
            pass
    monkeypatch.delenv("RANK")
    assert tool(*words) == (0, "")


def test_a_stage_before_those_that_it_needs(tool, config):
    answer = tool("train_net", "--cfg", config, "--stage", "joint")
    assert_answer(answer, 2, "experts/UCF is not trained yet; run --stage experts first")
    answer = tool("train_net", "--cfg", config, "--stage", "students")
    assert_answer(answer, 2, "joint is not trained yet; run --stage joint first")
    answer = tool("train_net", "--cfg", config, "--eval-only")
    assert_answer(answer, 2, "experts/UCF is not trained yet; run --stage experts first")


def test_an_export_of_an_untrained_student(tool, config, tmp_path):
    assert tool("train_net", "--cfg", config, "--stage", "report") == (0, "")
    words = ["--run", tmp_path / "run", "--output", tmp_path / "out", "--dataset"]
    answer = tool("export_student", *words, "UCF")
    assert_answer(answer, 2, "students/UCF is not trained yet; run --stage students first")
    assert_answer(
        tool("export_student", *words, "UFC"), 2, "no model 'students/UFC'", "students/UCF"
    )
    answer = tool("export_student", "--run", tmp_path / "r", "--output", "o", "--dataset", "UCF")
    assert_answer(answer, 2, f"{tmp_path / 'r'} is not a run directory")


def test_an_export_that_is_not_exact_fails_the_run(tool, config, tmp_path, monkeypatch):
    short = ["SOLVER.MAX_EPOCH", 1, "BASELINES", "[]"]
    for stage in ("experts", "joint", "students"):
        assert tool("train_net", "--cfg", config, "--stage", stage, *short) == (0, "")
    monkeypatch.setattr(student_export, "PLAIN_TOLERANCE", -1.0)
    answer = tool("train_net", "--cfg", config, "--stage", "export", *short)
    assert_answer(
        answer, 1, "the plain export does not give the model's logits: off by 0, allowed is -1"
    )


def test_more_workers_than_cores(tool, config):
    answer = tool("train_net", "--cfg", config, "DATA_LOADER.NUM_WORKERS", 1000)
    assert_answer(answer, 2, "NUM_WORKERS 1000", "cores of this process")


def test_lists_that_are_not_there(tool, tmp_path):
    answer = tool("prepare_data", "count", "--format", "ucf101", "--annotations", tmp_path / "no")
    assert_answer(answer, 2, "is not a folder")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_process_group_leaves_a_checkpoint(config, tmp_path, number):
    command = [sys.executable, TOOLS / "train_net.py", "--cfg", config, "--stage", "experts"]
    overrides = ["SOLVER.MAX_EPOCH", "1000", "DATA_LOADER.NUM_WORKERS", "1"]
    process = subprocess.Popen(
        [*command, *overrides], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log = tmp_path / "run" / "experts" / "UCF" / "metrics.jsonl"
    while not (log.exists() and log.read_text()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert errors == "stopped; run the same command again to go on\n"
    assert list((log.parent / "checkpoints").glob("step-*/manifest.json"))


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_logger_that_is_not_installed_is_named_before_anything_is_written(
    tool, config, tmp_path, monkeypatch, name
):
    monkeypatch.setitem(sys.modules, name, None)
    answer = tool("train_net", "--config-file", config, "TRAIN.LOGGERS", f"['{name}']")
    assert_answer(answer, 2, f"TRAIN.LOGGERS {name} cannot be used", f"pip install -e '.[{name}]'")
    assert not (tmp_path / "run" / "config.yaml").exists()
