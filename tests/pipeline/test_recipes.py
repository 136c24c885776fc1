"""Recipes of students: what they start from, generalists, and the length of their trainings."""

import pytest
import torch

from videokd.pipeline.model_builder import ModelBuilder
from videokd.utils.errors import InputError

NAMES = ("UCF", "HMDB")
LIKE_EXPERTS = [
    word
    for name in NAMES
    for section in ("EXPERTS", "STUDENTS")
    for word in (f"{section}.{name}.ARCH", "r3d_18")
]


def _weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture
def with_trained(monkeypatch):
    """``with_trained(plan, folder)``: a model that ``load`` returns for this training."""

    def make(plan, folder):
        trained = plan.find(folder).build_model()
        with torch.no_grad():
            for tensor in trained.state_dict().values():
                tensor.copy_(torch.rand(tensor.shape))
        load = ModelBuilder.load
        monkeypatch.setattr(
            ModelBuilder,
            "load",
            lambda self, t: trained if t.folder == folder else load(self, t),
        )
        return trained

    return make


@pytest.mark.parametrize("init", ["expert", "joint", "generalist"])
def test_a_student_starts_as_an_exact_copy(make_run, with_trained, init):
    words = [*LIKE_EXPERTS, "DISTILL.INIT", init, "JOINT.FINE_TUNE", "all"]
    plan = make_run(*words, datasets=NAMES, BASELINES=[]).plan
    folder = {"expert": "experts/HMDB", "joint": "joint", "generalist": "generalist/UCF-HMDB"}[init]
    source = with_trained(plan, folder)
    training = plan.find("students/HMDB")
    assert folder in [need.folder for need in training.needs]
    student = training.build_model()
    training.load_initial(student)
    if init == "joint":
        source = source.experts["HMDB"].module
    expected = _weights(source)
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    # Without a step a specialist is its generalist.
    clips = {training.clips.main.name: torch.rand(2, 3, 4, 32, 32)}
    student, source = student.eval(), source.eval()
    logits = student.classify(student(clips).embedding, "HMDB")
    assert torch.equal(logits, source.classify(source(clips).embedding, "HMDB"))


def test_a_network_of_all_datasets_starts_from_an_expert_that_is_fused(make_run, with_trained):
    words = [*LIKE_EXPERTS, "DISTILL.INIT", "generalist", "GENERALIST.INIT", "joint"]
    words += ["JOINT.FINE_TUNE", "all", "JOINT.EXPERTS", "['HMDB']"]
    plan = make_run(*words, datasets=NAMES, BASELINES=["B2W"]).plan
    of_expert = with_trained(plan, "experts/HMDB").backbone.state_dict()
    of_joint = with_trained(plan, "joint").experts["HMDB"].module.backbone.state_dict()
    copies = {"generalist/UCF-HMDB": of_joint, "baselines/B2W/UCF-HMDB": of_expert}
    for folder, expected in copies.items():
        training = plan.find(folder)
        network = training.build_model()
        training.load_initial(network)
        for name, tensor in network.backbone.state_dict().items():
            assert torch.equal(tensor, expected[name]), (folder, name)


def test_what_a_student_starts_from_is_in_its_fingerprint(make_run):
    prints = {}
    for init in ("random", "expert", "joint", "generalist"):
        words = [*LIKE_EXPERTS, "DISTILL.INIT", init, "JOINT.FINE_TUNE", "all"]
        plan = make_run(*words, datasets=NAMES, BASELINES=[]).plan
        prints[init] = plan.find("students/UCF").fingerprint
    assert len(set(prints.values())) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["STUDENTS.UCF.ARCH", "mc3_18", "DISTILL.INIT", "expert"],
            "DISTILL.INIT expert needs a student of its expert's architecture: EXPERTS.UCF is "
            ".*r3d_18.*STUDENTS.UCF is mc3_18.*; set DISTILL.INIT random",
        ),
        (
            ["DISTILL.INIT", "joint"],
            "DISTILL.INIT joint starts the student of UCF .* set JOINT.FINE_TUNE all",
        ),
        (
            ["DISTILL.INIT", "joint", "JOINT.FINE_TUNE", "all", "JOINT.EXPERTS", "['UCF']"],
            "student of HMDB .* name HMDB in JOINT.EXPERTS",
        ),
        (
            ["DISTILL.INIT", "generalist", "JOINT.SCOPE", "target"],
            "DISTILL.INIT generalist needs one joint teacher of all datasets; set JOINT.SCOPE all",
        ),
        (
            ["STUDENTS.UCF.ARCH", "mc3_18", "BASELINES", "['B2W']"],
            "BASELINES B2W needs a student of its expert's architecture.*; leave it out",
        ),
    ],
)
def test_a_start_that_does_not_exist_is_an_input_error(make_run, words, message):
    with pytest.raises(InputError, match=message):
        make_run(*LIKE_EXPERTS, *words, datasets=NAMES, BASELINES=[])


def test_a_generalist_is_one_network_per_kind_of_student(make_run):
    words = ["DISTILL.INIT", "generalist", "GENERALIST.MAX_EPOCH", 4, "DISTILL.MAX_EPOCH", 1]
    plan = make_run(*words, BASELINES=[]).plan
    generalists = [t for t in plan.trainings if t.stage == "generalist"]
    assert [t.folder for t in generalists] == ["generalist/UCF-HMDB-KINETICS"]
    assert generalists[0].trained_on == generalists[0].tested_on == ("UCF", "HMDB", "KINETICS")
    assert generalists[0].num_epochs == 4
    assert {plan.find(f"students/{name}").num_epochs for name in ("UCF", "HMDB")} == {1}
    assert plan.rows == ["experts", "joint", "generalist", "students"]
    other = make_run(*words, "STUDENTS.HMDB.ARCH", "mc3_18", BASELINES=[]).plan
    assert [t.folder for t in other.trainings if t.stage == "generalist"] == [
        "generalist/UCF-KINETICS",
        "generalist/HMDB",
    ]


def test_schedules_of_trainings_with_a_teacher_are_their_own(make_run):
    words = ["DISTILL.MAX_EPOCH", 5, "DISTILL.BASE_LR", 0.5]
    plan = make_run(*words, BASELINES=["B1", "B4"]).plan
    for folder in ("students/UCF", "baselines/B4/UCF"):
        assert (plan.find(folder).num_epochs, plan.find(folder).base_lr) == (5, 0.5)
    assert (plan.find("experts/UCF").num_epochs, plan.find("experts/UCF").base_lr) == (2, 0.001)


@pytest.mark.parametrize("mix", ["proportional", "balanced"])
def test_own_clips_come_at_least_as_often_as_alone(make_run, mix):
    """Balanced batches hold few clips of a large dataset."""
    run = make_run("DISTILL.CLIPS", "all", "DATA.MIX", mix, BASELINES=[])
    for name in run.datasets:
        alone, taught = (run.plan.find(f"{part}/{name}") for part in ("experts", "students"))
        shares = {"balanced": 1 / 3}
        sizes = {key: len(splits.train) for key, splits in run.datasets.items()}
        share = shares.get(mix, sizes[name] / sum(sizes.values()))
        assert taught.num_steps * share >= alone.num_steps - 1e-6
        assert taught.num_epochs <= 3 * alone.num_epochs


@pytest.mark.parametrize("key", ["B4F", "B9", "B10"])
def test_students_of_other_teachers_depend_on_the_taught_levels(make_run, key):
    options = {"datasets": NAMES, "BASELINES": [key]}
    prints = [
        make_run(*LIKE_EXPERTS, "JOINT.LEVELS", levels, **options).plan.row(key)["UCF"].fingerprint
        for levels in ([], ["stage3"])
    ]
    assert prints[0] != prints[1]


def test_other_teachers_teach_for_as_many_steps_as_the_joint_teacher(make_run):
    words = [*LIKE_EXPERTS, "DISTILL.INIT", "generalist", "GENERALIST.MAX_EPOCH", 4]
    words += ["DISTILL.MAX_EPOCH", 1, "DISTILL.BASE_LR", 0.5]
    keys = ["B4", "B4F", "B7", "B9", "B10"]
    plan = make_run(*words, datasets=NAMES, BASELINES=keys).plan
    lineage = plan.find("generalist/UCF-HMDB").num_steps + plan.find("students/UCF").num_steps
    for key in ("B4", "B4F", "B10"):
        training = plan.row(key)["UCF"]
        assert 0 <= training.num_steps - lineage < training.num_steps_per_epoch
        assert training.base_lr == plan.find("experts/UCF").base_lr
    for key in ("B7", "B9"):
        generalist = plan.find(f"baselines/{key}_generalist/UCF-HMDB")
        student = plan.row(key)["UCF"]
        assert generalist.num_epochs == 4
        assert generalist in student.needs
        assert (student.num_epochs, student.base_lr) == (1, 0.5)
