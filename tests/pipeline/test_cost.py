"""Clip passes: worked out by hand, and against the operations of real steps."""

import pytest
import torch

from videokd.pipeline.cost import count_step_flops, list_chain
from videokd.pipeline.step_cost import measure_step

SMALL = ["EXPERTS.UCF.ARCH", "cnn3d_s", "STUDENTS.UCF.ARCH", "cnn3d_s"]


@pytest.fixture
def make_plan(make_run):
    def make(*words, **nodes):
        run = make_run(*SMALL, *words, datasets=("UCF",), **nodes)
        return run, run.plan

    return make


def test_a_step_of_the_student_costs_about_three_passes(make_plan):
    run, plan = make_plan(BASELINES=["B2"])
    training = plan.find("experts/UCF")
    num_clips = training.num_steps * run.cfg.TRAIN.BATCH_SIZE
    # Forward and two gradients of the same cost, but none for the input of the first layer.
    width, grid = 8, 4 * 16 * 16
    first = 3 * width * 27 * grid
    rest = 27 * (width * 16 * 2 * 8 * 8 + 16 * 32 * 2 * 4 * 4 + 32 * 32 * 2 * 2 * 2) + 32
    head = 32 * run.datasets["UCF"].num_classes
    expected = (2 * first + 3 * (rest - 32) + 3 * head) / (first + rest - 32 + 32)
    assert plan.meter.of_training(training) == pytest.approx(num_clips * expected, rel=1e-6)


def test_counts_without_data_are_those_of_a_real_step(make_plan):
    run, plan = make_plan("JOINT.FINE_TUNE", "all", BASELINES=["B4F", "B10"])
    classes = {name: splits.num_classes for name, splits in run.datasets.items()}
    for training in plan.trainings:
        total, frozen = count_step_flops(training, classes)
        cost = measure_step(
            training, num_classes=classes, device=torch.device("cpu"), optimizer="adamw"
        )
        assert total == cost.flops / cost.num_clips, training.folder
        assert frozen == cost.frozen_flops / cost.num_clips, training.folder


def test_a_chain_counts_every_training_once(make_plan):
    _, plan = make_plan(BASELINES=[])
    student = plan.find("students/UCF")
    folders = [training.folder for training in list_chain(student, *student.needs)]
    assert folders == ["experts/UCF", "joint", "students/UCF"]
    parts = [plan.meter.of_training(plan.find(folder)) for folder in folders]
    assert plan.meter.of_chain(student) == pytest.approx(sum(parts))


def test_a_cache_answers_views_that_come_again(make_plan):
    words = ["DATA.VIEWS_PER_VIDEO", 2, "SOLVER.MAX_EPOCH", 8]
    plain = make_plan(*words, BASELINES=[])[1]
    run, cached = make_plan(*words, "DISTILL.CACHE_GIB", 1.0, BASELINES=[])
    training = cached.find("students/UCF")
    classes = {name: splits.num_classes for name, splits in run.datasets.items()}
    _, frozen = count_step_flops(training, classes)
    num_clips = training.num_steps * run.cfg.TRAIN.BATCH_SIZE
    num_views = 2 * len(run.datasets["UCF"].train)
    assert num_clips > num_views
    unit = 2 * cached.builder.multiply_adds("STUDENTS", "UCF")
    saved = plain.meter.of_training(plain.find("students/UCF")) - cached.meter.of_training(training)
    assert saved == pytest.approx(frozen * (num_clips - num_views) / unit)


def test_rivals_at_equal_cost_cost_the_same(make_run):
    words = [f"{part}.{name}.ARCH" for part in ("EXPERTS", "STUDENTS") for name in ("UCF", "HMDB")]
    words = [word for key in words for word in (key, "cnn3d_s")]
    keys = ["B1x", "B2C", "B2W", "B2F", "B9", "B11"]
    plan = make_run(*words, "SOLVER.MAX_EPOCH", 30, datasets=("UCF", "HMDB"), BASELINES=keys).plan
    total = plan.meter.of_chain(*plan.row("students").values())
    for key in ("B2C", "B2W", "B2F", "B11"):
        cost = plan.meter.of_chain(*plan.row(key).values())
        assert cost == pytest.approx(total, rel=0.05), key
    for name in ("UCF", "HMDB"):
        steps = plan.row("B1x")[name].num_steps - plan.row("students")[name].num_steps
        assert 0 <= steps < plan.row("B1x")[name].num_steps_per_epoch
    sizes = [plan.meter.num_parameters(plan.row(key)["UCF"]) for key in ("B11", "joint")]
    # Channels come in multiples of 8: the next width above.
    assert sizes[1] <= sizes[0] < 2 * sizes[1]
    teacher = plan.meter.of_training(plan.find("baselines/B9_teacher/UCF-HMDB"))
    assert teacher == pytest.approx(plan.meter.of_chain(*plan.row("joint").values()), rel=0.05)
