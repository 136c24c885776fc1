"""Costs of trainings of one shape, which are counted once."""

import pytest

from videokd.pipeline import cost as cost_module
from videokd.pipeline.baselines import BASELINES
from videokd.pipeline.cost import count_step_flops, describe_shape
from videokd.pipeline.model_builder import ModelBuilder

NAMES = ("UCF", "HMDB")


@pytest.fixture(autouse=True)
def empty_memo(monkeypatch):
    monkeypatch.setattr(cost_module, "_COUNTS", {})
    monkeypatch.setattr(cost_module, "_SIZES", {})


@pytest.fixture
def counted(monkeypatch):
    """A unit of 100 operations; a step takes 700 per clip, 400 of them in frozen networks."""
    calls = []

    def count(training, num_classes):
        calls.append(training.folder)
        return 700.0, 400.0

    monkeypatch.setattr(cost_module, "count_step_flops", count)
    monkeypatch.setattr(ModelBuilder, "multiply_adds", lambda self, section, dataset: 50)
    return calls


def test_a_ready_made_expert_costs_nothing(make_run, counted):
    plan = make_run(
        "EXPERTS.UCF.TRAIN", False, "EXPERTS.UCF.WEIGHTS", __file__, datasets=NAMES
    ).plan
    assert plan.meter.of_training(plan.find("experts/UCF")) == 0


def test_trainings_of_one_shape_are_counted_once(make_run, counted):
    for options in (
        *(
            (),
            ("SEED", 3),
            ("SOLVER.BASE_LR", 0.5),
            ("DISTILL.W_KD", 0.3),
            ("DATA.VAL_FRACTION", 0.4),
        ),
        *(("AUG.RAND_NUM_OPS", 2), ("SOLVER.MAX_EPOCH", 3)),
    ):
        plan = make_run(*options, datasets=NAMES).plan
        for training in plan.trainings:
            plan.meter.of_training(training)
    assert sorted(counted) == sorted({training.folder for training in plan.trainings})
    other = make_run("DISTILL.W_FEAT", 0.0, datasets=NAMES).plan
    for training in other.trainings:
        other.meter.of_training(training)
    assert counted[-2:] == ["students/UCF", "students/HMDB"]


def test_equal_shapes_have_equal_operations(make_run):
    known = {}
    small = [f"{part}.{name}.ARCH=cnn3d_s" for part in ("EXPERTS", "STUDENTS") for name in NAMES]
    for options in (
        *((), ("JOINT.LEVELS", "[]"), ("DISTILL.W_FEAT", 0.0), ("MIXUP.ALPHA", 0.2)),
        *(("STUDENTS.HMDB.WIDTH_FACTOR", 0.25), ("JOINT.FINE_TUNE", "all")),
    ):
        # B2W starts from an expert of the same architecture.
        rows = [key for key in BASELINES if key != "B2W" or "WIDTH" not in str(options)]
        run = make_run(*small, *options, datasets=NAMES, BASELINES=rows)
        classes = {name: splits.num_classes for name, splits in run.datasets.items()}
        for training in run.plan.trainings:
            if training.num_steps:
                counts = count_step_flops(training, classes)
                key = describe_shape(training, {"levels": run.cfg.JOINT.LEVELS, **classes})
                assert known.setdefault(key, counts) == counts, (training.folder, options)
    assert len(known) > 20


def test_parameters_are_of_the_whole_network(make_run):
    plan = make_run(datasets=NAMES).plan
    experts = sum(plan.meter.num_parameters(plan.find(f"experts/{name}")) for name in NAMES)
    joint = plan.meter.num_parameters(plan.find("joint"))
    own = sum(p.numel() for p in plan.find("joint").build_model().parameters())
    assert joint == experts + own
