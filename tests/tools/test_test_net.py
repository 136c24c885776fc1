"""Weights that a training leaves beside its result can be scored."""

import importlib.util
import logging
import shutil
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from videokd.pipeline import scoring, train
from videokd.utils.errors import InputError
from videokd.utils.io import read_json

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool():
    """``tool(name, *words)``: call a tool's main in this process."""

    def call(name, *words):
        spec = importlib.util.spec_from_file_location(f"{name}_tool", TOOLS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.main([str(word) for word in words]) == 0

    yield call
    for handler in logging.getLogger("videokd").handlers:
        handler.close()


def test_the_best_weights_can_be_scored(tool, write_config, tmp_path, monkeypatch, capsys):
    config, falling, seen = write_config(["UCF"]), count(), []
    monkeypatch.setattr(
        train,
        "validate_training",
        lambda run, training, model: {"val_top1_UCF": 90.0 - next(falling)},
    )
    tool("train_net", "--cfg", config, "--stage", "experts")
    predict = scoring.predict_split

    def predict_split(run, training, model, name):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return predict(run, training, model, name)

    monkeypatch.setattr(scoring, "predict_split", predict_split)
    best = tmp_path / "run" / "experts" / "UCF" / "best.safetensors"
    words = ("--cfg", config, "--model", "experts/UCF")
    tool("test_net", *words, "--checkpoint", best)
    tool("test_net", *words)
    for state, name in zip(seen, ("best.safetensors", "model.safetensors"), strict=True):
        expected = load_file(best.with_name(name))
        assert all(torch.equal(value, expected[key]) for key, value in state.items())
    assert capsys.readouterr().out.count("experts/UCF on UCF: top1 ") == 2


def test_weights_are_scored_by_class_name_and_refused_for_other_classes(
    tool, write_config, relist_ucf, tmp_path, capsys
):
    config = write_config(["UCF"], BASELINES=[])
    tool("train_net", "--cfg", config, "--stage", "experts")
    training = tmp_path / "run" / "experts" / "UCF"
    names = read_json(training / "training.json")["class_names"]["heads.UCF"]
    checkpoint = ("--checkpoint", training / "model.safetensors")
    words = ("--cfg", config, "--model", "experts/UCF", *checkpoint)
    tool("test_net", *words)
    relisted = relist_ucf({name: name for name in reversed(names)})
    tool("test_net", *words, *relisted)
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("experts/UCF on UCF")]
    assert len(lines) == 2
    assert lines[0] == lines[1]
    shutil.rmtree(tmp_path / "relisted")
    relisted = relist_ucf({name: name.replace("Walking", "Striding") for name in sorted(names)})
    with pytest.raises(InputError, match=r"2 of the file's 8 classes \('Walking', 'WalkingBackwar"):
        tool("test_net", *words, *relisted)
