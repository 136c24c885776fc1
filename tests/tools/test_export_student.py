import importlib.util
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from videokd.config import load_config
from videokd.engine.checkpoint import save_weights
from videokd.engine.stop import StopRequest
from videokd.engine.training_file import write_training_file
from videokd.pipeline.run import open_run_directory, prepare_run

TOOL = Path(__file__).parents[2] / "tools" / "export_student.py"


@pytest.fixture
def main():
    spec = importlib.util.spec_from_file_location("export_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.parametrize("overrides", [{}, {"DISTILL.W_CE": 0.75}])
def test_what_is_exported_is_what_was_trained(main, write_config, tmp_path, overrides):
    config = write_config(["UCF"], BASELINES=[])
    runs = []
    for words in ([], [str(word) for item in overrides.items() for word in item]):
        cfg = load_config(config, words)
        runs.append(prepare_run(cfg, Console(), StopRequest(), is_dry=True))
    open_run_directory(runs[0])
    run = runs[1]  # of the call that trained the student
    training = run.plan.find("students/UCF")
    trained = training.build_model()
    for parameter in trained.parameters():
        parameter.data += torch.rand_like(parameter)
    stage = {"inputs": training.inputs, "is_finished": True, "calls": [{"overrides": overrides}]}
    write_training_file(run.plan.path(training), stage)
    save_weights(run.plan.path(training) / "model.safetensors", trained.state_dict())
    out = tmp_path / "out"
    words = ["--run", str(run.folder), "--dataset", "UCF", "--output", str(out)]
    assert main([*words, "--formats", "safetensors"]) == 0
    exported = load_file(out / "student.safetensors")
    backbone = trained.backbone.net.state_dict()
    assert backbone
    assert all(torch.equal(exported[name], value) for name, value in backbone.items())
    assert torch.equal(exported["fc.weight"], trained.heads["UCF"].weight)
