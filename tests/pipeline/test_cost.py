"""Clip passes of trainings, from counted operations that stand in for the real ones."""

import pytest

from videokd.pipeline import cost as cost_module
from videokd.pipeline.baselines import BASELINES
from videokd.pipeline.cost import count_step_flops, describe_shape, list_chain
from videokd.pipeline.model_builder import ModelBuilder

NAMES = ("UCF", "HMDB")
ALIKE = [f"EXPERTS.{name}.ARCH=r3d_18" for name in NAMES]


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


def test_every_clip_of_every_step_counts(make_run, counted):
    plan = make_run(datasets=NAMES).plan
    training = plan.find("students/UCF")
    assert plan.meter.passes_per_clip(training) == 7
    assert plan.meter.of_training(training) == training.num_steps * 8 * 7


def test_with_a_cache_frozen_networks_see_every_view_once(make_run, counted):
    options = ("DISTILL.CACHE_GIB", 1.0, "DATA.VIEWS_PER_VIDEO", 2, "SOLVER.MAX_EPOCH")
    run = make_run(*options, 10, datasets=NAMES)
    training = run.plan.find("students/UCF")
    num_clips, num_views = 8 * training.num_steps, 2 * len(run.datasets["UCF"].train)
    assert num_views < num_clips
    assert run.plan.meter.of_training(training) == 3 * num_clips + 4 * num_views
    # Views that are never reached cost nothing.
    short = make_run(*options, 1, datasets=NAMES).plan
    training = short.find("students/UCF")
    assert short.meter.of_training(training) == 7 * 8 * training.num_steps


def test_views_that_no_cache_keeps_are_computed_each_time(make_run, counted):
    plan = make_run("DATA.VIEWS_PER_VIDEO", 2, "SOLVER.MAX_EPOCH", 10, datasets=NAMES).plan
    training = plan.find("students/UCF")
    assert plan.meter.of_training(training) == 7 * 8 * training.num_steps


def test_a_chain_counts_what_it_shares_once(make_run, counted):
    plan = make_run(datasets=NAMES).plan
    row = plan.row("students").values()
    folders = [training.folder for training in list_chain(*row)]
    assert folders == ["experts/UCF", "experts/HMDB", "joint", "students/UCF", "students/HMDB"]
    expected = sum(plan.meter.of_training(plan.find(folder)) for folder in folders)
    assert plan.meter.of_chain(*row) == expected


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
    rows = [key for key in BASELINES if key != "B2W"]  # it needs students like their experts
    for options in (
        *((), ("JOINT.LEVELS", "[]"), ("DISTILL.W_FEAT", 0.0), ("MIXUP.ALPHA", 0.2)),
        *(("STUDENTS.HMDB.WIDTH_FACTOR", 0.25),),
    ):
        run = make_run(*options, datasets=NAMES, BASELINES=rows)
        classes = {name: splits.num_classes for name, splits in run.datasets.items()}
        for training in run.plan.trainings:
            if training.num_steps:
                counts = count_step_flops(training, classes)
                key = describe_shape(training, {"levels": run.cfg.JOINT.LEVELS, **classes})
                assert known.setdefault(key, counts) == counts, (training.folder, options)
    assert len(known) > 20


def test_forward_and_backward_of_the_first_student_are_three_passes(make_run):
    plan = make_run(*ALIKE, datasets=NAMES).plan
    # The first convolution needs no gradient of its clip; the head is not in the unit.
    assert 2.5 < plan.meter.passes_per_clip(plan.find("experts/UCF")) < 3.1


def test_parameters_are_of_the_whole_network(make_run):
    plan = make_run(datasets=NAMES).plan
    experts = sum(plan.meter.num_parameters(plan.find(f"experts/{name}")) for name in NAMES)
    joint = plan.meter.num_parameters(plan.find("joint"))
    own = sum(p.numel() for p in plan.find("joint").build_model().parameters())
    assert joint == experts + own
