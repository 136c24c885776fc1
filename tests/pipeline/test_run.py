"""Trainings of a few steps, training by training."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from videokd.distill.tasks import StudentTask
from videokd.engine.averaging import WeightAverage
from videokd.engine.metrics_log import read_metrics
from videokd.models.precision import PRECISIONS
from videokd.pipeline import train as train_module
from videokd.pipeline.scoring import score_training
from videokd.pipeline.train import run_training
from videokd.utils.io import read_json

ONE_EPOCH = ("SOLVER.MAX_EPOCH", 1, "TRAIN.EVAL_PERIOD", 0)
CLIPS = torch.rand(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def make_trained(make_run):
    """``make_trained(folder, *overrides, **nodes)``: train what a training needs, and then it.

    Returns the run, the training, and the model as it was when its training ended.
    """

    def make(folder, *overrides, **nodes):
        run = make_run(*ONE_EPOCH, *overrides, is_dry=False, **nodes)
        training, models = run.plan.find(folder), []

        def train(training):
            for needed in training.needs:
                train(needed)
            watched = replace(
                training, build_model=lambda: models.append(training.build_model()) or models[-1]
            )
            run_training(run, watched)

        train(training)
        return run, training, models[-1]

    return make


def _outputs(model, dataset):
    with torch.no_grad():
        features = model.eval()({"4x4x32": CLIPS})
        return [*features.levels.values(), model.classify(features.embedding, dataset)]


def _are_equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("part", ["last_stage", "all"])
def test_fine_tuned_experts_are_kept_with_the_joint_teacher_and_load_back(make_trained, part):
    words = ("JOINT.FINE_TUNE", part, "JOINT.TOPOLOGY", "trunk")
    run, training, model = make_trained("joint", *words, datasets=("UCF", "HMDB"), BASELINES=[])
    kept = load_file(run.plan.path(training) / "model.safetensors")
    loaded = run.plan.load_model(training)
    for dataset in ("UCF", "HMDB"):
        expert = load_file(run.folder / "experts" / dataset / "model.safetensors")
        prefix = f"experts.{dataset}.module."
        tuned = {n.removeprefix(prefix): v for n, v in kept.items() if n.startswith(prefix)}
        assert tuned.keys() == expert.keys()
        parts = {n.split(".")[2] for n in tuned if not torch.equal(tuned[n], expert[n])}
        # What lies above the level where a trunk taps its experts learns nothing.
        assert parts == ({"layer2"} if part == "last_stage" else {"stem", "layer1", "layer2"})
        assert _are_equal(_outputs(loaded, dataset), _outputs(model, dataset))


def test_frozen_experts_are_not_kept_with_the_joint_teacher_and_stay_as_they_were(make_trained):
    run, training, model = make_trained("joint", datasets=("UCF", "HMDB"), BASELINES=[])
    kept = load_file(run.plan.path(training) / "model.safetensors")
    assert not any(name.startswith("experts") for name in kept)
    for dataset in ("UCF", "HMDB"):
        expert = load_file(run.folder / "experts" / dataset / "model.safetensors")
        inside = model.experts[dataset].module.state_dict()
        assert all(torch.equal(value, inside[name]) for name, value in expert.items())
        assert _are_equal(
            _outputs(run.plan.load_model(training), dataset), _outputs(model, dataset)
        )


def test_with_an_average_the_kept_weights_are_the_average(make_trained, monkeypatch):
    averages = []

    class Watched(WeightAverage):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            averages.append(self)

    monkeypatch.setattr(train_module, "WeightAverage", Watched)
    words = ("SOLVER.EMA_DECAY", 0.9, "SOLVER.MAX_EPOCH", 2)
    run, training, model = make_trained("experts/UCF", *words, datasets=("UCF",), BASELINES=[])
    (average,) = averages
    assert average.num_updates == training.num_steps == 4
    kept = load_file(run.plan.path(training) / "model.safetensors")
    expected = average.module.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in kept.items())
    last = model.state_dict()
    name = "backbone.net.layer1.0.conv1.0.0.weight"
    assert not torch.equal(kept[name], last[name])
    # It is also what is tested.
    score_training(run, training)
    assert read_json(run.plan.path(training) / "test" / "UCF.json")["num_used"] == 16
    assert _are_equal(
        _outputs(run.plan.load_model(training), "UCF"), _outputs(average.module, "UCF")
    )


@pytest.mark.parametrize(("precision", "has_scaler"), [("fp16", True), ("bf16", False)])
def test_float16_is_trained_with_a_scaled_loss_and_tested_as_it_was_trained(
    make_trained, monkeypatch, precision, has_scaler
):
    scalers, dtypes = [], []
    plain = train_module.train

    def train(learner, *args, **options):
        scalers.append(learner.scaler)
        plain(learner, *args, **options)

    monkeypatch.setattr(train_module, "train", train)
    words = ("EXPERTS.UCF.PRECISION", precision, "TRAIN.ACCUMULATE", 2)
    run, training, _ = make_trained("experts/UCF", *words, datasets=("UCF",), BASELINES=[])
    assert [scaler is not None for scaler in scalers] == [has_scaler]
    load = run.plan.load_model

    def load_watched(training):
        model = load(training)
        model.backbone.register_forward_hook(
            lambda m, args, seen: dtypes.append(seen.levels["stage2"].dtype)
        )
        return model

    monkeypatch.setattr(run.plan, "load_model", load_watched)
    score_training(run, training)
    assert set(dtypes) == {PRECISIONS[precision]}


def test_a_cached_training_computes_each_view_once(make_trained, monkeypatch):
    caches = []
    init = StudentTask.__init__

    def watch(self, *args, cache, **options):
        caches.append(cache)
        init(self, *args, cache=cache, **options)

    monkeypatch.setattr(StudentTask, "__init__", watch)
    words = ("DATA.VIEWS_PER_VIDEO", 2, "DISTILL.CACHE_GIB", 0.5, "SOLVER.MAX_EPOCH", 6)
    run, training, _ = make_trained("students/UCF", *words, datasets=("UCF",), BASELINES=[])
    (cache,) = caches
    num_videos = len(run.datasets["UCF"].train)
    assert cache.num_asked == 6 * num_videos
    assert cache.num_computed == 2 * num_videos


def test_fixed_teaching_trains_and_b5_keeps_its_heads_only(make_trained):
    words = ("DISTILL.TEACHING", "fixed", "JOINT.LEVELS", "[]")
    run, training, model = make_trained(
        "baselines/B5/UCF", *words, datasets=("UCF", "HMDB"), BASELINES=["B5"]
    )
    (fit,) = training.needs
    kept = load_file(run.plan.path(fit) / "model.safetensors")
    assert {name.split(".")[0] for name in kept} == {"norms", "heads"}
    assert all(value.ne(0).any() for name, value in kept.items() if name.startswith("heads"))
    score_training(run, fit)  # it is not tested: nothing to do
    assert not (run.plan.path(fit) / "test").exists()
    assert _are_equal(_outputs(run.plan.load_model(training), "UCF"), _outputs(model, "UCF"))


@pytest.mark.parametrize("teaching", ["consistent", "fixed"])
def test_clips_cut_on_the_device_train_the_same_student(make_run, tmp_path, teaching):
    words = (*ONE_EPOCH, "DISTILL.TEACHING", teaching, "AUG.RAND_NUM_OPS", 1)
    kept = []
    for place in ("worker", "device"):
        options = ("DATA.AUGMENT_ON", place, "OUTPUT_DIR", tmp_path / place)
        nodes = {"datasets": ("UCF",), "BASELINES": [], "is_dry": False}
        run = make_run(*words, *options, **nodes)
        for training in run.plan.trainings:
            run_training(run, training)
        kept.append(load_file(run.folder / "students" / "UCF" / "model.safetensors"))
    assert all(torch.equal(value, kept[1][name]) for name, value in kept[0].items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("JOINT.SCOPE", "target", "JOINT.STANDARDISE", "phi_s", "JOINT.EXPERT_DROP", 0.5),
        ("JOINT.TOPOLOGY", "trunk", "JOINT.STANDARDISE", "running", "JOINT.EXPERTS", "['HMDB']"),
        ("JOINT.STANDARDISE", "none", "JOINT.SHAPES_FROM", "HMDB", "STUDENTS.UCF.ARCH", "mc3_18"),
        ("DISTILL.LOGIT_LOSS.NAME", "dkd", "DISTILL.FEATURE_LOSS.NAME", "smooth_l1_cosine"),
        ("DATA.SAMPLER", "segments", "AUG.ERASE_PROBABILITY", 0.5, "TEST.NUM_SPATIAL_CROPS", 5),
        ("DATA.TARGET_FPS", 6.0, "DATA.SHORT_VIDEO", "loop", "TEST.CLIP_RULE", "end_inclusive"),
        ("DATA.MIX", "temperature", "DATA.MIX_TEMPERATURE", 2.0, "DATA.REPEATED_AUG", 4),
        ("DATA.MIX", "balanced", "DATA.REPEATED_AUG", 2, "MIXUP.CUTMIX_ALPHA", 1.0),
        ("DISTILL.LOGIT_LOSS.NAME", "dist", "DISTILL.FEATURE_LOSS.NAME", "attention"),
        ("DISTILL.FEATURE_LOSS.NAME", "relational", "DISTILL.STANDARDISE", "running"),
        ("DISTILL.FEATURE_LOSS.NAME", "similarity", "DISTILL.STANDARDISE", "phi_s"),
        ("DISTILL.PROJECTOR", "always", "DISTILL.TEACHER_DROP", 0.5, "MIXUP.ALPHA", 0.2),
        ("DISTILL.CLIPS", "all", "MIXUP.CUTMIX_ALPHA", 1.0, "DISTILL.STANDARDISE_LOGITS", True),
        ("DISTILL.LEVEL_SCHEDULES.stage2", "rising", "DISTILL.LEVEL_WEIGHTS.stage3", 0.0),
    ],
)
def test_every_choice_trains_a_student(make_trained, words):
    run, training, model = make_trained(
        "students/UCF", *words, datasets=("UCF", "HMDB"), BASELINES=[]
    )
    assert _are_equal(_outputs(run.plan.load_model(training), "UCF"), _outputs(model, "UCF"))
    stem = training.build_model().backbone.net.stem[0].weight
    assert not torch.equal(stem, model.backbone.net.stem[0].weight)


def test_every_training_is_shown_and_traced_in_its_own_folder(make_trained, monkeypatch):
    runs = []
    stub = ModuleType("wandb")
    stub.init = lambda **options: (
        runs.append(options) or SimpleNamespace(log=lambda values, step: None, finish=lambda: None)
    )
    monkeypatch.setitem(sys.modules, "wandb", stub)
    words = ("TRAIN.LOGGERS", "['wandb']", "TRAIN.PROFILE_STEPS", [2, 2])
    run, _, _ = make_trained("students/UCF", *words, datasets=("UCF",), BASELINES=[])
    folders = ("experts/UCF", "joint", "students/UCF")
    assert [options["name"] for options in runs] == list(folders)
    assert {options["group"] for options in runs} == {run.folder.name}
    for folder in folders:
        assert (run.folder / folder / "profile-steps-2-2.json.gz").exists()
        line = read_metrics(run.folder / folder / "metrics.jsonl")[-1]
        assert ("teacher_share" in line) == (folder != "experts/UCF")
        assert 0 < line.get("teacher_share", 0.5) < 1
