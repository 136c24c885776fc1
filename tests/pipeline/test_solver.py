"""What SOLVER's keys do to trainings and to their fingerprints."""

import signal

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from videokd.engine.metrics_log import read_metrics
from videokd.engine.stop import Stopped
from videokd.engine.training_file import read_training_file
from videokd.models.tuned import Tuned
from videokd.pipeline import finishing
from videokd.pipeline import train as train_module
from videokd.pipeline.train import run_training

ALONE = {"datasets": ("UCF",), "BASELINES": []}
WORDS = ("SOLVER.MAX_EPOCH", 2, "TRAIN.LOG_PERIOD", 1, "TRAIN.EVAL_PERIOD", 0)


def train_expert(make_run, *words, folder="experts/UCF", **nodes):
    run = make_run(*WORDS, *words, is_dry=False, **(nodes or ALONE))
    training = run.plan.find(folder)
    for needed in training.needs:
        run_training(run, needed)
    run_training(run, training)
    lines = read_metrics(run.plan.path(training) / "metrics.jsonl")
    return load_file(run.plan.path(training) / "model.safetensors"), lines


def norms_of(state):
    return {name: value for name, value in state.items() if ".running_" in name}


def rest_of(state):
    return {name: value for name, value in state.items() if ".running_" not in name}


def is_equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("SOLVER.LR_POLICY", "constant"), {"LR_POLICY": "constant"}),
        (
            ("SOLVER.LR_POLICY", "step", "SOLVER.STEPS", "[0.5]"),
            {"LR_POLICY": "step", "STEPS": [0.5]},
        ),
        (("SOLVER.LAYER_DECAY", 0.75), {"LAYER_DECAY": 0.75}),
        (("SOLVER.PRECISE_BN_BATCHES", 4), {"PRECISE_BN_BATCHES": 4}),
    ],
)
def test_every_unit_knows_the_keys_that_are_set(make_run, words, expected):
    before = {training.folder: _solver(training) for training in make_run().plan.trainings}
    for training in make_run(*words).plan.trainings:
        assert _solver(training) == {**before[training.folder], **expected}


def _solver(training):
    prefix = "SOLVER."
    values = training.inputs.items()
    return {key.removeprefix(prefix): v for key, v in values if key.startswith(prefix)}


def test_rates_are_scaled_by_the_batch_size_where_that_is_asked_for(make_run):
    words = ("TRAIN.BATCH_SIZE", 8, "SOLVER.BASE_LR", 0.1, "JOINT.BASE_LR", 0.02)
    plain, scaled = (make_run(*words, "SOLVER.BASE_BATCH_SIZE", size).plan for size in (0, 32))
    assert [plain.find(name).base_lr for name in ("experts/UCF", "joint")] == [0.1, 0.02]
    rates = [scaled.find(name).base_lr for name in ("experts/UCF", "joint")]
    assert rates == pytest.approx([0.025, 0.005])
    # The fingerprint holds the rate that is used, however it came about.
    same = make_run(*words, "SOLVER.BASE_LR", 0.025, "JOINT.BASE_LR", 0.005).plan
    for folder in ("experts/UCF", "joint"):
        assert scaled.find(folder).inputs["base_lr"] == pytest.approx(
            same.find(folder).inputs["base_lr"]
        )
        assert _solver(scaled.find(folder)) == _solver(same.find(folder))


def test_the_policy_sets_the_rates_of_the_steps(make_run):
    words = ("SOLVER.LR_POLICY", "step", "SOLVER.STEPS", "[0.5]")
    _, lines = train_expert(make_run, *words, "SOLVER.BASE_LR", 0.01, "SOLVER.WARMUP_SHARE", 0.0)
    assert [line["lr"] for line in lines] == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_the_rate_rises_in_a_share_of_the_steps(make_run):
    words = ("SOLVER.LR_POLICY", "constant", "SOLVER.BASE_LR", 0.01, "SOLVER.WARMUP_SHARE", 0.5)
    _, lines = train_expert(make_run, *words)
    assert [line["lr"] for line in lines] == pytest.approx([0.005, 0.01, 0.01, 0.01])


def test_layers_near_the_clips_learn_slower(make_run, monkeypatch):
    optimizers, build = [], train_module.build_optimizer
    monkeypatch.setattr(
        train_module,
        "build_optimizer",
        lambda *a, **k: optimizers.append(build(*a, **k)) or optimizers[-1],
    )
    train_expert(make_run, "SOLVER.LAYER_DECAY", 0.5)
    scales = {group["lr_scale"] for group in optimizers[0].param_groups if group["params"]}
    assert scales == {0.5**i for i in range(6)}


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_final_weights_get_the_statistics_of_the_first_batches(make_run, tmp_path, decay):
    words = ("SOLVER.EMA_DECAY", decay)
    plain, _ = train_expert(make_run, *words, "OUTPUT_DIR", tmp_path / "plain")
    measured, _ = train_expert(
        make_run, *words, "SOLVER.PRECISE_BN_BATCHES", 3, "OUTPUT_DIR", tmp_path / "measured"
    )
    assert is_equal(rest_of(plain), rest_of(measured))
    assert not any(torch.equal(v, norms_of(plain)[n]) for n, v in norms_of(measured).items())


def test_looking_at_measured_statistics_does_not_change_the_training(make_run, tmp_path):
    words = ("SOLVER.PRECISE_BN_BATCHES", 2, "OUTPUT_DIR")
    seldom, _ = train_expert(make_run, *words, tmp_path / "seldom")
    often, lines = train_expert(make_run, *words, tmp_path / "often", "TRAIN.EVAL_PERIOD", 1)
    assert sum("val_top1_UCF" in line for line in lines) == 2
    assert is_equal(seldom, often)


def test_evaluation_sees_the_measured_statistics(make_run, monkeypatch):
    seen, validate = [], train_module.validate_training

    def watch(run, training, model):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return validate(run, training, model)

    monkeypatch.setattr(train_module, "validate_training", watch)
    kept, _ = train_expert(make_run, "SOLVER.PRECISE_BN_BATCHES", 2, "TRAIN.EVAL_PERIOD", 2)
    assert len(seen) == 1
    assert is_equal(seen[0], kept)


def test_a_signal_does_not_wait_for_the_statistics(make_run, monkeypatch, tmp_path):
    words = (*WORDS, "SOLVER.PRECISE_BN_BATCHES", 4, "OUTPUT_DIR")
    whole = make_run(*words, tmp_path / "whole", is_dry=False, **ALONE)
    stopped = make_run(*words, tmp_path / "stopped", is_dry=False, **ALONE)
    training, num_measured = whole.plan.find("experts/UCF"), []

    def to_float(clips):
        num_measured.append(len(clips))
        if len(num_measured) == 2:
            stopped.stop._receive(signal.SIGTERM, None)
        return {name: each.float() / 255 for name, each in clips.items()}

    with monkeypatch.context() as patch:
        patch.setattr(finishing, "to_float", to_float)
        with pytest.raises(Stopped, match="^$"):
            run_training(stopped, stopped.plan.find("experts/UCF"))
    assert len(num_measured) == 2
    assert read_training_file(stopped.plan.path(training), training.inputs)["seconds"] > 0
    again = make_run(*words, tmp_path / "stopped", is_dry=False, **ALONE)
    weights = []
    for run in (whole, again):
        run_training(run, run.plan.find("experts/UCF"))
        weights.append(load_file(run.plan.path(training) / "model.safetensors"))
    assert is_equal(*weights)


def test_statistics_of_experts_stay_where_they_are_not_trained(make_run):
    words = ("JOINT.FINE_TUNE", "last_stage", "SOLVER.PRECISE_BN_BATCHES", 2)
    run = make_run(*WORDS, *words, is_dry=False, datasets=("UCF", "HMDB"), BASELINES=[])
    training = run.plan.find("joint")
    for needed in training.needs:
        run_training(run, needed)
    run_training(run, training)
    joint, num_kept = run.plan.load_model(training), 0
    for needed in training.needs:
        expert = run.plan.load_model(needed)
        tuned = joint.experts[needed.tested_on[0]]
        assert isinstance(tuned, Tuned)
        trained = {m for part in tuned._trained for m in part.modules()}
        pairs = zip(expert.modules(), tuned.module.modules(), strict=True)
        for one, other in pairs:
            if isinstance(one, nn.BatchNorm3d):
                is_kept = torch.equal(one.running_mean, other.running_mean)
                assert is_kept == (other not in trained)
                num_kept += is_kept
    assert num_kept > 0
