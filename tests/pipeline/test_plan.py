import json

import pytest
import torch

from videokd.data.synthetic.generate import GENERATOR_VERSION
from videokd.engine.checkpoint import save_weights
from videokd.pipeline import plan as plan_module
from videokd.pipeline.stage import write_stage
from videokd.utils.errors import InputError


def _fingerprints(run):
    return {unit.folder: unit.fingerprint for unit in run.plan.units}


@pytest.fixture
def changed(make_run):
    """``changed(*overrides)``: folders of the units whose fingerprint the overrides change."""
    before = _fingerprints(make_run())

    def compare(*overrides, **nodes):
        after = _fingerprints(make_run(*overrides, **nodes))
        return {
            folder for folder in before.keys() & after.keys() if before[folder] != after[folder]
        }

    return compare


EXPERTS = {"experts/UCF", "experts/HMDB", "experts/KINETICS"}
STUDENTS = {"students/UCF", "students/HMDB", "students/KINETICS"}
B4 = {"baselines/B4/UCF", "baselines/B4/HMDB", "baselines/B4/KINETICS"}
B1 = {"baselines/B1/UCF", "baselines/B1/HMDB"}
B2 = {"baselines/B2/UCF-HMDB-KINETICS"}
ALL = EXPERTS | {"joint"} | STUDENTS | B1 | B2 | B4


def test_the_units_stand_in_the_order_in_which_they_need_each_other(make_run):
    units = make_run().plan.units
    assert {unit.folder for unit in units} == ALL
    assert [unit.stage for unit in units] == (
        ["experts"] * 3 + ["joint"] + ["students"] * 3 + ["baselines"] * 6
    )


def test_a_student_alone_of_its_experts_kind_is_the_expert(make_run):
    plan = make_run().plan
    folders = plan.folders("B1")
    assert folders == {
        "UCF": "baselines/B1/UCF",
        "HMDB": "baselines/B1/HMDB",
        "KINETICS": "experts/KINETICS",
    }
    other = make_run("EXPERTS.KINETICS.DROPOUT", 0.1).plan.folders("B1")
    assert other["KINETICS"] == "baselines/B1/KINETICS"


def test_students_of_one_kind_share_a_jointly_trained_network(make_run):
    plan = make_run("STUDENTS.HMDB.ARCH", "mc3_18").plan
    assert plan.folders("B2") == {
        "UCF": "baselines/B2/UCF-KINETICS",
        "KINETICS": "baselines/B2/UCF-KINETICS",
        "HMDB": "baselines/B2/HMDB",
    }
    shared = plan.find("baselines/B2/UCF-KINETICS")
    assert shared.trained_on == ("UCF", "HMDB", "KINETICS")
    assert shared.tested_on == ("UCF", "KINETICS")
    assert set(shared.make_model().heads) == {"UCF", "HMDB", "KINETICS"}


def test_only_baselines_that_were_asked_for_are_rows(make_run):
    plan = make_run("BASELINES", "['B4']").plan
    assert plan.rows == ["experts", "B4", "joint", "students"]
    assert {unit.folder for unit in plan.units} == EXPERTS | {"joint"} | STUDENTS | B4


def test_a_student_and_its_baselines_start_from_the_same_weights(make_run):
    plan = make_run().plan
    states = [
        plan.find(folder).make_model().backbone.state_dict()
        for folder in ("students/UCF", "baselines/B1/UCF", "baselines/B4/UCF", *B2)
    ]
    for state in states[1:]:
        assert all(torch.equal(value, states[0][name]) for name, value in state.items())


def test_steps_follow_from_epochs_and_videos(make_run):
    plan = make_run("JOINT.MAX_EPOCH", 5).plan
    # 24 training videos, of which one group of three per class is held out; batches of 8.
    assert plan.find("experts/UCF").num_steps == 2 * (16 // 8)
    assert plan.find("joint").num_steps == 5 * ((16 + 20 + 20) // 8)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("SEED", 1, ALL),
        ("DATA.CROP_SIZE", 24, ALL),
        ("DATA.COLOR_JITTER", 0.0, ALL),
        ("SOLVER.WEIGHT_DECAY", 0.0, ALL),
        ("SOLVER.MAX_EPOCH", 3, ALL),
        ("TRAIN.BATCH_SIZE", 4, ALL),
        ("DATASETS.UCF.SPLIT", 2, ALL - {"experts/HMDB", "experts/KINETICS", "baselines/B1/HMDB"}
         - {"baselines/B4/HMDB", "baselines/B4/KINETICS"}),
        ("EXPERTS.UCF.BASE_LR", 0.5, {"experts/UCF", "joint", "baselines/B4/UCF"} | STUDENTS),
        ("EXPERTS.HMDB.ARCH", "r3d_18", {"experts/HMDB", "joint", "baselines/B4/HMDB"} | STUDENTS),
        ("DATASETS.UCF.LOSS_WEIGHT", 2.0, {"joint"} | STUDENTS | B2),
        ("JOINT.WIDTH", 16, {"joint"} | STUDENTS),
        ("JOINT.MAX_EPOCH", 3, {"joint"} | STUDENTS),
        ("DISTILL.W_FEAT", 0.5, STUDENTS),
        ("DISTILL.PROJECTOR", "always", STUDENTS),
        ("DISTILL.TEMPERATURE", 4.0, STUDENTS | B4),
        ("STUDENTS.HMDB.DROPOUT", 0.5, {"students/HMDB", "baselines/B1/HMDB", "baselines/B4/HMDB"}),
        ("STUDENTS.HMDB.BASE_LR", 0.5, {"students/HMDB", "baselines/B1/HMDB", "baselines/B4/HMDB"}),
        ("STUDENTS.UCF.MEAN", [0, 0, 0], {"students/UCF", "baselines/B1/UCF", "baselines/B4/UCF"}),
    ],
)  # fmt: skip
def test_fingerprints_change_with_what_the_weights_depend_on(changed, key, value, expected):
    assert changed(key, value) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TEST.NUM_ENSEMBLE_VIEWS", 9),
        ("TRAIN.LOG_PERIOD", 7),
        ("TRAIN.EVAL_PERIOD", 0),
        ("DATA.MAX_BAD_FRACTION", 0.5),
        ("DATA.FRAME_CACHE", "''"),
        ("DATA_LOADER.TIMEOUT_SEC", 5.0),
        ("BASELINES", "[]"),
        ("EXPORT.FORMATS", "['pth']"),
        ("JOINT.MAX_EPOCH", 2),
        ("JOINT.SHAPES_FROM", "UCF"),
        ("EXPERTS.UCF.BASE_LR", 1e-3),
    ],
)
def test_fingerprints_do_not_change_with_the_rest(changed, key, value):
    assert changed(key, value) == set()


def test_the_order_of_the_datasets_seeds_weights_and_so_changes_fingerprints(changed):
    assert changed(datasets=("HMDB", "UCF", "KINETICS")) >= (
        ALL - B2 - {"experts/KINETICS", "baselines/B4/KINETICS"}
    )


def test_generated_videos_of_another_version_change_fingerprints(make_run, tiny_data, monkeypatch):
    synthetic = {"ROOT": str(tiny_data), "PROFILE": "tiny"}
    before = _fingerprints(make_run(SYNTHETIC=synthetic))
    monkeypatch.setattr(plan_module, "GENERATOR_VERSION", GENERATOR_VERSION + 1)
    after = _fingerprints(make_run(SYNTHETIC=synthetic))
    assert all(before[folder] != after[folder] for folder in ALL)


def test_inputs_are_plain_json(make_run):
    for unit in make_run().plan.units:
        assert json.loads(json.dumps(unit.inputs)) == unit.inputs


def test_an_unknown_model_is_answered_with_those_there_are(make_run):
    with pytest.raises(InputError, match=r"no model 'students/UFC' .* experts/UCF, experts/HMDB"):
        make_run().plan.find("students/UFC")


def test_what_is_not_trained_cannot_be_loaded(make_run):
    run = make_run()
    with pytest.raises(InputError, match="experts/UCF is not trained yet; run --stage experts"):
        run.plan.load_model(run.plan.find("experts/UCF"))


def test_what_is_trained_from_another_config_is_not_loaded(make_run):
    run = make_run()
    unit = run.plan.find("experts/UCF")
    folder = run.folder / unit.folder
    model = unit.make_model()
    write_stage(folder, {"inputs": unit.inputs, "is_finished": True, "seconds": 1.0})
    save_weights(folder / "model.safetensors", model.state_dict())
    loaded = run.plan.load_model(unit).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())
    other = make_run("SOLVER.WEIGHT_DECAY", 0.5)
    with pytest.raises(InputError, match=r"another config .*SOLVER.WEIGHT_DECAY was 0.05, is 0.5"):
        other.plan.load_model(other.plan.find("experts/UCF"))
    with pytest.raises(InputError, match="another config"):
        other.plan.check_folders()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("STUDENTS.KINETICS.ARCH", "r3d", "unknown ARCH 'r3d'; known are"),
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
