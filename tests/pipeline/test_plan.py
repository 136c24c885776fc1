import json
from dataclasses import replace

import pytest
import torch

from videokd.engine.checkpoint import save_weights
from videokd.engine.optim import build_optimizer
from videokd.engine.training_file import write_training_file
from videokd.pipeline import datasets as datasets_module
from videokd.pipeline import fingerprint as recipe_module
from videokd.pipeline.plan import ExperimentPlan
from videokd.synthetic.generate import GENERATOR_VERSION
from videokd.utils.errors import InputError


def _fingerprints(run):
    return {training.folder: training.fingerprint for training in run.plan.trainings}


@pytest.fixture
def changed(make_run):
    """``changed(*overrides)``: folders of the trainings whose fingerprint the overrides change."""
    before = _fingerprints(make_run())

    def compare(*overrides, **nodes):
        after = _fingerprints(make_run(*overrides, **nodes))
        return {
            folder for folder in before.keys() & after.keys() if before[folder] != after[folder]
        }

    return compare


NAMES = ["UCF", "HMDB", "KINETICS"]
EXPERTS = {"experts/UCF", "experts/HMDB", "experts/KINETICS"}
STUDENTS = {"students/UCF", "students/HMDB", "students/KINETICS"}
B4 = {"baselines/B4/UCF", "baselines/B4/HMDB", "baselines/B4/KINETICS"}
B1 = {"baselines/B1/UCF", "baselines/B1/HMDB"}
B2 = {"baselines/B2/UCF-HMDB-KINETICS"}
ALL = EXPERTS | {"joint"} | STUDENTS | B1 | B2 | B4


def test_the_trainings_stand_in_the_order_in_which_they_need_each_other(make_run):
    trainings = make_run().plan.trainings
    assert {training.folder for training in trainings} == ALL
    assert [training.stage for training in trainings] == (
        ["experts"] * 3 + ["joint"] + ["students"] * 3 + ["baselines"] * 6
    )


def test_a_student_and_its_baselines_start_from_the_same_weights(make_run):
    plan = make_run().plan
    states = [
        plan.find(folder).build_model().backbone.state_dict()
        for folder in ("students/UCF", "baselines/B1/UCF", "baselines/B4/UCF", *B2)
    ]
    for state in states[1:]:
        assert all(torch.equal(value, states[0][name]) for name, value in state.items())


def test_steps_follow_from_epochs_and_videos(make_run):
    plan = make_run("JOINT.MAX_EPOCH", 5).plan
    # 24 training videos, of which one group of three per class is held out; batches of 8.
    assert plan.find("experts/UCF").num_steps == 2 * (16 // 8)
    assert plan.find("joint").num_steps == 5 * ((16 + 20 + 20) // 8)


def test_the_temperature_of_a_mix_enters_where_it_is_the_mix(make_run):
    mixes = [("DATA.MIX", "temperature", "DATA.MIX_TEMPERATURE", t) for t in (1.0, 1.5)]
    one, other = (_fingerprints(make_run(*words)) for words in mixes)
    assert all(one[folder] != other[folder] for folder in one)


def test_a_cache_saves_time_and_changes_no_fingerprint(make_run):
    views = ("DATA.VIEWS_PER_VIDEO", 2)
    cached = make_run(*views, "DISTILL.CACHE_GIB", 0.5, BASELINES=["B4", "B5", "B7"])
    assert _fingerprints(cached) == _fingerprints(make_run(*views, BASELINES=["B4", "B5", "B7"]))


def test_the_order_of_the_datasets_seeds_weights_and_so_changes_fingerprints(changed):
    assert changed(datasets=("HMDB", "UCF", "KINETICS")) >= (
        ALL - B2 - {"experts/KINETICS", "baselines/B4/KINETICS"}
    )


def test_generated_videos_of_another_version_or_seed_change_fingerprints(
    make_run, tiny_data, monkeypatch
):
    synthetic = {"ROOT": str(tiny_data), "PROFILE": "tiny"}
    before = _fingerprints(make_run(SYNTHETIC=synthetic))
    monkeypatch.setattr(datasets_module, "generate_synthetic", lambda *args, **options: None)
    other = _fingerprints(make_run(SYNTHETIC={**synthetic, "SEED": 1}))
    assert all(before[folder] != other[folder] for folder in ALL)
    monkeypatch.setattr(recipe_module, "GENERATOR_VERSION", GENERATOR_VERSION + 1)
    after = _fingerprints(make_run(SYNTHETIC=synthetic))
    assert all(before[folder] != after[folder] for folder in ALL)


@pytest.mark.parametrize("mirror_labels", [None, (1, 0, *range(2, 10))])
@pytest.mark.parametrize("has_flip", [True, False])
def test_what_mirroring_does_to_classes_enters_where_clips_are_mirrored(
    make_run, mirror_labels, has_flip
):
    run = make_run("DATA.RANDOM_FLIP", has_flip)
    parts = run.datasets["HMDB"]
    changed = replace(parts, train=replace(parts.train, mirror_labels=mirror_labels))
    plan = ExperimentPlan(run.cfg, {**run.datasets, "HMDB": changed}, run.folder, is_dry=True)
    differing = {u.folder for u in plan.trainings if run.plan.find(u.folder).inputs != u.inputs}
    elsewhere = {"experts/UCF", "experts/KINETICS", "baselines/B1/UCF"}
    elsewhere |= {"baselines/B4/UCF", "baselines/B4/KINETICS"}
    assert differing == (ALL - elsewhere if has_flip else set())


def test_inputs_are_plain_json(make_run):
    for training in make_run().plan.trainings:
        assert json.loads(json.dumps(training.inputs)) == training.inputs


def test_an_unknown_model_is_answered_with_those_there_are(make_run):
    with pytest.raises(InputError, match=r"no model 'students/UFC' .* experts/UCF, experts/HMDB"):
        make_run().plan.find("students/UFC")


def test_what_is_not_trained_cannot_be_loaded(make_run):
    run = make_run(is_dry=False)
    with pytest.raises(InputError, match="experts/UCF is not trained yet; run --stage experts"):
        run.plan.load_model(run.plan.find("experts/UCF"))


def _pretend_trained(run, training):
    folder = run.plan.path(training)
    write_training_file(folder, {"inputs": training.inputs, "is_finished": True, "seconds": 1.0})
    model = training.build_model()
    save_weights(folder / "model.safetensors", model.state_dict())
    return model.state_dict()


def test_what_is_trained_from_another_config_is_not_loaded(make_run):
    run = make_run(is_dry=False)
    training = run.plan.find("experts/UCF")
    state = _pretend_trained(run, training)
    loaded = run.plan.load_model(training).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in state.items())
    other = make_run("SOLVER.WEIGHT_DECAY", 0.5, is_dry=False)
    with pytest.raises(InputError, match=r"another config .*SOLVER.WEIGHT_DECAY was 0.05, is 0.5"):
        other.plan.load_model(other.plan.find("experts/UCF"))
    with pytest.raises(InputError, match="another config"):
        other.plan.check_folders()


def test_in_a_dry_run_models_that_are_not_trained_are_built_with_fresh_weights(make_run):
    run = make_run()
    training = run.plan.find("students/UCF")
    fresh, loaded = training.build_model().state_dict(), run.plan.load_model(training).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in fresh.items())


def test_experiments_that_share_a_store_train_what_they_have_in_common_once(make_run, tmp_path):
    store = tmp_path / "store"
    one = make_run(store=store, is_dry=False).plan
    two = make_run("DISTILL.W_FEAT", 0.9, "OUTPUT_DIR", tmp_path / "b", store=store).plan
    paths = [
        {training.folder: plan.path(training) for training in plan.trainings} for plan in (one, two)
    ]
    assert {folder for folder in ALL if paths[0][folder] != paths[1][folder]} == STUDENTS
    assert len(set(paths[0].values())) == len(ALL)
    assert all(path.parent == store for path in paths[0].values())


def test_what_one_experiment_trained_another_finds_in_the_store(make_run, tmp_path):
    one, two = (
        make_run(*words, store=tmp_path / "store", is_dry=False)
        for words in (["OUTPUT_DIR", tmp_path / "a"], ["DISTILL.W_CE", 0.9])
    )
    training = two.plan.find("experts/HMDB")
    assert not two.plan.is_finished(training)
    state = _pretend_trained(one, one.plan.find("experts/HMDB"))
    assert two.plan.is_finished(training)
    loaded = two.plan.load_model(training).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in state.items())


def test_scope_target_gives_each_dataset_a_joint_teacher_with_its_head_and_clips_only(make_run):
    plan = make_run("JOINT.SCOPE", "target", "STUDENTS.HMDB.ARCH", "mc3_18").plan
    joints = [training for training in plan.trainings if training.key == "joint"]
    assert [training.folder for training in joints] == [f"joint/{name}" for name in NAMES]
    assert plan.row("joint") == dict(zip(NAMES, joints, strict=True))
    for name, training in zip(NAMES, joints, strict=True):
        assert training.trained_on == training.tested_on == (name,)
        teacher = training.build_model()
        assert list(teacher.heads) == [name]
        assert list(teacher.experts) == NAMES
        shapes = plan.builder.shapes("STUDENTS", name)
        assert teacher.fusion.shapes == shapes
        student = plan.find(f"students/{name}")
        assert student.needs == (training,)
        task = student.build_task(student.build_model())
        assert list(task.teacher.module.heads) == [name]
        assert not list(task.objective.parameters())  # the teacher has the student's own shapes


def test_one_weight_of_a_loss_says_nothing_in_scope_target(make_run):
    scope = ("JOINT.SCOPE", "target")
    plain = _fingerprints(make_run(*scope))
    weighed = _fingerprints(make_run(*scope, "DATASETS.UCF.LOSS_WEIGHT", 2.0))
    assert {folder for folder in plain if plain[folder] != weighed[folder]} == B2


def test_only_the_experts_that_are_named_are_fused(make_run, changed):
    plan = make_run("JOINT.EXPERTS", "['UCF', 'KINETICS']").plan
    joint = plan.find("joint")
    assert [training.folder for training in joint.needs] == ["experts/UCF", "experts/KINETICS"]
    teacher = joint.build_model()
    assert list(teacher.experts) == ["UCF", "KINETICS"]
    assert list(teacher.heads) == NAMES
    # The other expert is still trained: it is a row of the table, and B4's teacher.
    assert plan.find("experts/HMDB") in plan.trainings
    assert changed("JOINT.EXPERTS", "['UCF', 'HMDB']") == {"joint"} | STUDENTS
    assert changed("JOINT.EXPERTS", str(NAMES)) == set()


@pytest.mark.parametrize("part", ["none", "last_stage", "all"])
def test_fine_tuned_experts_have_a_learning_rate_of_their_own(make_run, part):
    plan = make_run("JOINT.FINE_TUNE", part, "JOINT.FINE_TUNE_LR_SCALE", 0.25).plan
    training = plan.find("joint")
    task = training.build_task(training.build_model())
    optimizer = build_optimizer(
        task, name="adamw", base_lr=0.1, weight_decay=0.0, lr_scales=training.lr_scales
    )
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    experts = {id(p) for p in task.model.experts.parameters() if p.requires_grad}
    assert bool(experts) == (part != "none")
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            expected = 0.025 if id(parameter) in experts else 0.1
            assert rates[id(parameter)] == pytest.approx(expected), name
    assert all(not u.lr_scales for u in plan.trainings if u.key != "joint")


def test_clips_of_all_datasets_teach_a_student_that_is_tested_on_its_own(make_run):
    plan = make_run("DISTILL.CLIPS", "all").plan
    for folder in ("students/HMDB", "baselines/B4/HMDB"):
        training = plan.find(folder)
        assert training.trained_on == tuple(NAMES)
        assert training.tested_on == ("HMDB",)
        task = training.build_task(training.build_model())
        assert (task.dataset, task.trained_on) == ("HMDB", tuple(NAMES))
    assert plan.find("baselines/B1/HMDB").trained_on == ("HMDB",)


@pytest.mark.parametrize("teaching", ["consistent", "fixed"])
def test_batches_carry_plain_clips_where_a_teacher_is_shown_them(make_run, teaching):
    plan = make_run("DISTILL.TEACHING", teaching).plan
    is_fixed = teaching == "fixed"
    for training in plan.trainings:
        is_taught = training.key in ("students", "B4")
        assert training.clips.plain == ()
        if is_taught:
            assert training.task_clips.plain == ((training.clips.main,) if is_fixed else ())
            assert training.build_task(training.build_model()).is_fixed == is_fixed


def test_what_is_trained_gets_its_mixing_cache_and_dropping(make_run):
    mixing = make_run("MIXUP.ALPHA", 0.3, "MIXUP.CUTMIX_ALPHA", 0.6, "DISTILL.TEACHER_DROP", 0.2)
    for folder in ("experts/UCF", "joint", "students/UCF", *B2):
        training = mixing.plan.find(folder)
        task = training.build_task(training.build_model())
        assert (task.mixing.mixup_alpha, task.mixing.cutmix_alpha) == (0.3, 0.6)
    student = mixing.plan.find("students/UCF")
    assert student.build_task(student.build_model()).objective.options.teacher_drop == 0.2
    for words, has_cache in ((["JOINT.FINE_TUNE", "all"], False), ([], True)):
        plan = make_run("DATA.VIEWS_PER_VIDEO", 2, "DISTILL.CACHE_GIB", 0.1, *words).plan
        training, student = plan.find("joint"), plan.find("students/UCF")
        # What is tuned says something else at each step.
        assert (training.build_task(training.build_model()).expert_cache is not None) == has_cache
        assert student.build_task(student.build_model()).cache is not None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("STUDENTS.KINETICS.ARCH", "r3d", "unknown ARCH 'r3d'; did you mean s3d or r3d_18"),
        ("STUDENTS.KINETICS.ARCH", "mvit_v2_s", None),
        ("TRAIN.BATCH_SIZE", 17, "TRAIN.BATCH_SIZE 17 must be <= 16, the training videos of UCF"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(make_run, key, value, message):
    if message is None:
        with pytest.raises(InputError, match="even number of frames"):
            make_run(key, value, "DATA.NUM_FRAMES", 5)
    else:
        with pytest.raises(InputError, match=message):
            make_run(key, value)
