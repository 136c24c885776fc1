import pytest
import torch

from videokd.models.joined import JoinedClassifier
from videokd.pipeline.baselines import BASELINES
from videokd.pipeline.summary import TITLES

NAMES = ["UCF", "HMDB", "KINETICS"]
ALL = [key for key in BASELINES if key != "B2W"]  # whose networks here are not the experts'
EACH = ["B1", "B4", "B5_teachers", "B5", "B7"]  # one per dataset


def _folders(plan, stage="baselines"):
    return [training.folder for training in plan.trainings if training.stage == stage]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        # Of three students alone, one is its expert.
        ("B1", ["baselines/B1/UCF", "baselines/B1/HMDB"]),
        ("B2", ["baselines/B2/UCF-HMDB-KINETICS"]),
        ("B3", ["baselines/B3/UCF-HMDB-KINETICS"]),
        ("B4", [f"baselines/B4/{name}" for name in NAMES]),
        ("B5", [f"baselines/{key}/{name}" for name in NAMES for key in ("B5_teachers", "B5")]),
        ("B7", [f"baselines/B7/{name}" for name in NAMES]),
    ],
)
def test_a_baseline_brings_its_trainings_its_row_and_no_other(make_run, key, expected):
    plan = make_run(BASELINES=[key]).plan
    assert _folders(plan) == expected
    assert plan.rows == ["experts", key, "joint", "students"]
    row = {name: training.folder for name, training in plan.row(key).items()}
    assert list(row) == NAMES
    assert set(row.values()) <= {*expected, "experts/KINETICS"}
    assert all(name in plan.row(key)[name].tested_on for name in NAMES)


def test_all_baselines_stand_in_order_and_have_titles(make_run):
    plan = make_run(BASELINES=ALL[::-1]).plan
    assert plan.rows == ["experts", *ALL, "joint", "students"]
    assert set(plan.rows) == set(TITLES) - {"B2W", "generalist"}
    place = {training.folder: i for i, training in enumerate(plan.trainings)}
    assert len(place) == len(plan.trainings)
    assert all(place[n.folder] < place[u.folder] for u in plan.trainings for n in u.needs)


def test_without_baselines_only_the_method_is_left(make_run):
    plan = make_run(BASELINES=[]).plan
    assert _folders(plan) == []
    assert plan.rows == ["experts", "joint", "students"]
    assert plan.row("B2") == {}


def test_a_student_alone_of_its_experts_kind_is_the_expert(make_run):
    plan = make_run().plan
    assert {name: training.folder for name, training in plan.row("B1").items()} == {
        "UCF": "baselines/B1/UCF",
        "HMDB": "baselines/B1/HMDB",
        "KINETICS": "experts/KINETICS",
    }
    other = make_run("EXPERTS.KINETICS.DROPOUT", 0.1).plan.row("B1")
    assert other["KINETICS"].folder == "baselines/B1/KINETICS"


@pytest.mark.parametrize("key", ["B2", "B3"])
def test_students_of_one_kind_share_a_jointly_trained_network(make_run, key):
    plan = make_run("STUDENTS.HMDB.ARCH", "mc3_18", BASELINES=[key]).plan
    assert {name: training.folder for name, training in plan.row(key).items()} == {
        "UCF": f"baselines/{key}/UCF-KINETICS",
        "KINETICS": f"baselines/{key}/UCF-KINETICS",
        "HMDB": f"baselines/{key}/HMDB",
    }
    shared = plan.find(f"baselines/{key}/UCF-KINETICS")
    assert shared.trained_on == tuple(NAMES)
    assert shared.tested_on == ("UCF", "KINETICS")


def test_b2_has_a_head_per_dataset_and_b3_one_over_all_classes(make_run):
    run = make_run("DATASETS.HMDB.LOSS_WEIGHT", 0.5, "MIXUP.ALPHA", 0.1, BASELINES=["B2", "B3"])
    heads, joined = (run.plan.find(f"baselines/{key}/UCF-HMDB-KINETICS") for key in ("B2", "B3"))
    num_classes = {name: parts.num_classes for name, parts in run.datasets.items()}
    model = heads.build_model()
    assert {name: head.out_features for name, head in model.heads.items()} == num_classes
    other = joined.build_model()
    assert isinstance(other, JoinedClassifier)
    embedding = torch.zeros(1, model.backbone.embedding_dim)
    assert other.classify_all(embedding).shape == (1, sum(num_classes.values()))
    assert other.num_classes == num_classes
    for training in (heads, joined):
        task = training.build_task(training.build_model())
        assert task.weights == {"UCF": 1.0, "HMDB": 0.5, "KINETICS": 1.0}
    own, same = model.backbone.state_dict(), other.classifier.backbone.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in own.items())


def test_b4_is_taught_by_the_logits_of_its_own_expert_alone(make_run):
    plan = make_run(BASELINES=["B4"]).plan
    training = plan.find("baselines/B4/HMDB")
    assert training.needs == (plan.find("experts/HMDB"),)
    task = training.build_task(training.build_model())
    expert = plan.find("experts/HMDB").build_model().state_dict()
    taught_by = task.teacher.module.state_dict()
    assert all(torch.equal(value, taught_by[name]) for name, value in expert.items())
    assert task.objective.taught_levels == ()
    assert task.dataset == "HMDB"


def test_b5_is_taught_by_all_fused_experts_through_heads_fitted_on_its_dataset(make_run):
    plan = make_run("JOINT.EXPERTS", "['UCF', 'KINETICS']", BASELINES=["B5"]).plan
    fit, student = plan.find("baselines/B5_teachers/HMDB"), plan.find("baselines/B5/HMDB")
    assert [training.folder for training in fit.needs] == ["experts/UCF", "experts/KINETICS"]
    assert (fit.trained_on, fit.tested_on) == (("HMDB",), ())
    assert student.needs == (fit,)
    ensemble = fit.build_model()
    assert list(ensemble.experts) == ["UCF", "KINETICS"]
    num_classes = plan.find("experts/HMDB").build_model().heads["HMDB"].out_features
    assert {head.out_features for head in ensemble.heads.values()} == {num_classes}
    assert fit.build_task(ensemble).cache is None
    task = student.build_task(student.build_model())
    assert task.teacher.module.dataset == "HMDB"
    assert task.objective.taught_levels == ()


def test_b7_is_taught_like_the_method_by_a_teacher_of_the_same_kind_that_learnt_nothing(make_run):
    plan = make_run(BASELINES=["B7"]).plan
    control, student = plan.find("baselines/B7/UCF"), plan.find("students/UCF")
    assert control.needs == ()
    tasks = [training.build_task(training.build_model()) for training in (control, student)]
    assert tasks[0].objective.taught_levels == tasks[1].objective.taught_levels
    untrained, trained = (task.teacher.module for task in tasks)
    states = [
        {name: v.shape for name, v in net.state_dict().items()} for net in (untrained, trained)
    ]
    assert states[0] == states[1]
    # Nor did its experts, and the student does not begin as one of them.
    begins = student.build_model().backbone.net.stem[0].weight
    for name in NAMES:
        fresh = untrained.experts[name].module.backbone.net.stem[0].weight
        expert = plan.find(f"experts/{name}").build_model().backbone.net.stem[0].weight
        assert not torch.equal(fresh, expert)
        assert fresh.shape != begins.shape or not torch.equal(fresh, begins)
