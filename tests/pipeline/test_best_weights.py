"""The weights that did best in validation, beside those of the last step."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from videokd.engine.metrics_log import read_metrics
from videokd.engine.train import train
from videokd.pipeline import train as train_module
from videokd.utils.io import read_json

WORDS = ("SOLVER.MAX_EPOCH", 3, "SOLVER.EMA_DECAY")


@pytest.fixture
def train_scored(make_run, monkeypatch):
    """``train_scored(training's folder, scores, *words, **nodes)``: that of its last training.

    Returns its folder, and the states that were validated, with ``scores`` in turn.
    """

    def train_one(name, scores, *words, **nodes):
        run = make_run(*words, is_dry=False, BASELINES=[], **nodes)
        training = run.plan.find(name)
        for needed in training.needs:
            train_module.run_training(run, needed)
        seen, left = [], iter(scores)

        def validate(run, training, model):
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
            score = next(left)
            return {"val_top1_A": score - 10, "val_top1_B": score + 10}

        with monkeypatch.context() as patch:
            patch.setattr(train_module, "validate_training", validate)
            train_module.run_training(run, training)
        return run.plan.path(training), seen

    return train_one


def is_equal(state, other):
    assert state.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in state.items())


@pytest.mark.parametrize("num_batches", [0, 2])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_best_weights_are_those_that_were_validated(train_scored, decay, num_batches):
    words = (*WORDS, decay, "SOLVER.PRECISE_BN_BATCHES", num_batches)
    folder, seen = train_scored("experts/UCF", [40.0, 60.0, 50.0], *words, datasets=("UCF",))
    assert is_equal(load_file(folder / "best.safetensors"), seen[1])
    assert is_equal(load_file(folder / "model.safetensors"), seen[2])
    assert not is_equal(seen[1], seen[2])
    steps = [line["step"] for line in read_metrics(folder / "metrics.jsonl") if "lr" not in line]
    assert read_json(folder / "training.json")["best"] == {"step": steps[1], "val_top1": 60.0}
    assert not (folder / "checkpoints").exists()


def test_a_joint_teacher_has_its_best_too(train_scored):
    words = ("JOINT.FINE_TUNE", "last_stage", "JOINT.MAX_EPOCH", 2)
    folder, seen = train_scored("joint", [40.0, 30.0], *words, datasets=("UCF", "HMDB"))
    assert is_equal(load_file(folder / "best.safetensors"), seen[0])
    assert is_equal(load_file(folder / "model.safetensors"), seen[1])


@pytest.mark.parametrize(
    ("scores", "period"), [([40.0, 50.0, 60.0], 1), ([40.0], 3), ([], 0)], ids=str
)
def test_the_last_weights_are_kept_once(train_scored, scores, period):
    words = (*WORDS, 0.0, "TRAIN.EVAL_PERIOD", period)
    folder, seen = train_scored("experts/UCF", scores, *words, datasets=("UCF",))
    assert len(seen) == len(scores)
    assert not (folder / "best.safetensors").exists()
    assert "best" not in read_json(folder / "training.json")


def test_a_best_checkpoint_that_is_lost_costs_nothing_else(train_scored, monkeypatch, caplog):
    def train_and_lose(*arguments, folder, **options):
        train(*arguments, folder=folder, **options)
        shutil.rmtree(folder / "checkpoints" / "step-4")

    words = (*WORDS, 0.0)
    monkeypatch.setattr(train_module, "train", train_and_lose)
    folder, seen = train_scored("experts/UCF", [40.0, 60.0, 50.0], *words, datasets=("UCF",))
    assert is_equal(load_file(folder / "model.safetensors"), seen[2])
    assert read_json(folder / "training.json")["is_finished"]
    assert not (folder / "best.safetensors").exists()
    assert "no best.safetensors, since" in caplog.text
