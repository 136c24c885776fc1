import copy

import pytest
import torch
import torch.nn.functional as F

from videokd.distill.losses import entropy, feature_mse, soft_cross_entropy
from videokd.distill.projectors import Projectors
from videokd.distill.tasks import (
    ClassificationTask,
    DistillWeights,
    StudentTask,
    to_float_clips,
)
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.levels import compute_level_shapes

LEVELS = ["stage1", "stage2", "stage3", "stage4"]


@pytest.fixture
def make_student_task(make_classifier):
    """``make_student_task(**weights)``: an r3d student under T* of an mc3 and an x3d expert."""

    def make(student="r3d_18", *, always=False, use_projectors=True, **weights):
        experts = {"a": make_classifier("mc3_18"), "b": make_classifier("x3d_s")}
        shapes = {
            name: compute_level_shapes(model.backbone, (3, 4, 32, 32))
            for name, model in {**experts, "student": make_classifier(student)}.items()
        }
        student_shapes = shapes.pop("student")
        teacher_shapes = compute_level_shapes(make_classifier().backbone, (3, 4, 32, 32))
        teacher = JointTeacher(
            experts,
            shapes,
            shapes=teacher_shapes,
            levels=LEVELS,
            num_classes={"a": 3, "b": 4},
            width=6,
            dropout=0.9,
        )
        projectors = Projectors(student_shapes, teacher_shapes, levels=LEVELS, always=always)
        return StudentTask(
            make_classifier(student),
            teacher,
            dataset="a",
            weights=DistillWeights(**weights),
            projectors=projectors if use_projectors else None,
        )

    return make


def test_clips_become_floats_between_0_and_1(make_batch):
    clips = to_float_clips(make_batch())
    assert clips.dtype == torch.float32
    assert (clips.min().item(), clips.max().item()) == (0.0, 1.0)


def test_the_students_loss_is_the_documented_sum_of_its_terms(make_student_task, make_batch):
    task = make_student_task(kd=0.7, feat=0.3, ce=0.11, temperature=3.0).eval()
    batch = make_batch()
    output = task(batch)
    clips = to_float_clips(batch)
    seen, features = task.teacher(clips), task.model(clips)
    teacher_logits = task.teacher.module.classify(seen.embedding, "a")
    logits = task.model.classify(features.embedding, "a")
    feats = [feature_mse(features.levels[level], seen.levels[level]) for level in LEVELS]
    feats.append(feature_mse(features.embedding, seen.embedding))
    expected = (
        0.7 * soft_cross_entropy(logits, teacher_logits, temperature=3.0)
        + 0.3 * sum(feats) / 5
        + 0.11 * F.cross_entropy(logits, batch.labels)
    )
    torch.testing.assert_close(output.loss, expected)
    assert torch.equal(output.correct, logits.argmax(1) == batch.labels)
    agreement = (logits.argmax(1) == teacher_logits.argmax(1)).float().mean()
    teacher_top1 = (teacher_logits.argmax(1) == batch.labels).float().mean()
    for name, value in {
        **{f"feat_{level}": value for level, value in zip(LEVELS, feats[:4], strict=True)},
        "agreement": agreement,
        "teacher_top1": teacher_top1,
        "entropy_student": entropy(logits),
        "entropy_teacher": entropy(teacher_logits),
    }.items():
        torch.testing.assert_close(output.terms[name], value.detach())
    assert not any(value.requires_grad for value in output.terms.values())


@pytest.mark.parametrize("level", LEVELS)
def test_every_levels_term_reaches_the_students_stage_and_all_below(
    make_student_task, make_batch, level
):
    task = make_student_task(kd=0.0, feat=1.0, ce=0.0)
    for name in [*LEVELS, "embedding"]:
        if name != level:
            # The teacher's map is set aside, and with it the term of every other level.
            _silence(task, name)
    task(make_batch()).loss.backward()
    reached = {
        name.split(".")[2]
        for name, p in task.model.named_parameters()
        if p.grad is not None and p.grad.any()
    }
    num_stages = LEVELS.index(level) + 1
    assert reached == {"stem", *(f"layer{i + 1}" for i in range(num_stages))}


def _silence(task, level):
    class Detach(torch.nn.Module):
        def forward(self, x):
            return x.detach()

    if level == "embedding":
        task.projectors.embedding = Detach()
    else:
        task.projectors.maps[level] = Detach()


@pytest.mark.parametrize("weight", ["kd", "feat", "ce"])
def test_each_term_alone_reaches_every_stage_of_the_student(make_student_task, make_batch, weight):
    weights = {"kd": 0.0, "feat": 0.0, "ce": 0.0, weight: 1.0}
    task = make_student_task(**weights)
    task(make_batch()).loss.backward()
    for stage in ("stem", "layer1", "layer2", "layer3", "layer4"):
        grads = [p.grad for p in task.model.backbone.net.get_submodule(stage).parameters()]
        assert all(grad.any() for grad in grads), stage


@pytest.mark.parametrize("always", [False, True])
def test_projectors_are_trained_where_shapes_differ_or_when_asked_for(
    make_student_task, make_batch, always
):
    same = make_student_task(always=always)
    assert bool(list(same.projectors.parameters())) is always
    other = make_student_task("x3d_s", always=always)
    other(make_batch()).loss.backward()
    parameters = list(other.projectors.parameters())
    assert parameters
    assert all(p.grad.any() for p in parameters)


def test_without_projectors_only_logits_are_distilled(make_student_task, make_batch):
    task = make_student_task(use_projectors=False, kd=0.7, feat=0.3, ce=0.2)
    output = task(make_batch())
    assert not any(name.startswith("feat") for name in output.terms)
    expected = 0.7 * output.terms["kd"] + 0.2 * output.terms["ce"]
    torch.testing.assert_close(output.loss.detach(), expected)


def test_the_teacher_stays_as_it_is_while_the_student_is_trained(make_student_task, make_batch):
    task = make_student_task()
    teacher = task.teacher.module
    before = copy.deepcopy(teacher.state_dict())
    expert = copy.deepcopy(teacher.experts["a"].module.state_dict())
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    for seed in range(3):
        task.train()
        optimizer.zero_grad()
        task(make_batch(seed=seed)).loss.backward()
        optimizer.step()
    assert not any(module.training for module in teacher.modules())
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    after = teacher.experts["a"].module.state_dict()
    assert all(torch.equal(expert[k], v) for k, v in after.items())


def test_the_teacher_is_in_neither_state_nor_parameters_of_the_task(make_student_task):
    task = make_student_task(always=True)
    assert {name.split(".")[0] for name in task.state_dict()} == {"model", "projectors"}
    assert {name.split(".")[0] for name, _ in task.named_parameters()} == {"model", "projectors"}


def test_an_expert_can_be_the_teacher(make_classifier, make_batch):
    teacher = make_classifier("r2plus1d_18").eval()
    task = StudentTask(make_classifier(), teacher, dataset="a", weights=DistillWeights())
    batch = make_batch()
    output = task(batch)
    with torch.no_grad():
        logits = teacher.classify(teacher(to_float_clips(batch)).embedding, "a")
    torch.testing.assert_close(output.terms["entropy_teacher"], entropy(logits))


def test_a_mixed_batch_costs_what_the_datasets_cost_one_by_one(make_classifier, make_batch):
    weights = {"a": 1.0, "b": 0.25, "c": 2.0}
    model = make_classifier(num_classes={"a": 3, "b": 5, "c": 4}).eval()
    batch = make_batch((0, 1, 0, 1, 1, 0))  # none of "c"
    output = ClassificationTask(model, weights).eval()(batch)
    total, embedding = 0.0, model(to_float_clips(batch)).embedding
    for i, (name, weight) in enumerate(weights.items()):
        mine = (batch.dataset_ids == i).nonzero().flatten()
        for b in mine.tolist():
            logits = model.classify(embedding[b : b + 1], name)
            total = total + weight * F.cross_entropy(logits, batch.labels[b : b + 1])
            assert output.correct[b] == (logits.argmax() == batch.labels[b])
        if len(mine):
            ce = F.cross_entropy(model.classify(embedding[mine], name), batch.labels[mine])
            torch.testing.assert_close(output.terms[f"ce_{name}"], ce.detach())
    torch.testing.assert_close(output.loss, total / 6)


def test_a_mixed_batch_says_how_many_clips_each_term_is_of(make_classifier, make_batch):
    model = make_classifier(num_classes={"a": 3, "b": 5, "c": 4}).eval()
    output = ClassificationTask(model, dict.fromkeys("abc", 1.0))(make_batch((0, 1, 0, 0)))
    assert {name: n.item() for name, n in output.counts.items()} == {
        "ce_a": 3,
        "ce_b": 1,
        "ce_c": 0,
    }


def test_a_head_gets_gradient_from_its_own_datasets_clips_only(make_classifier, make_batch):
    model = make_classifier(num_classes={"a": 3, "b": 5})
    task = ClassificationTask(model, {"a": 1.0, "b": 1.0})
    task(make_batch((1, 1, 1))).loss.backward()
    assert not model.heads["a"].weight.grad.any()
    assert model.heads["b"].weight.grad.any()


def test_labels_beyond_another_datasets_classes_do_no_harm(make_classifier, make_batch):
    model = make_classifier(num_classes={"a": 2, "b": 9}).eval()
    batch = make_batch((1, 1, 0, 0), num_classes=2)
    batch.labels[:2] = 8
    task = ClassificationTask(model, {"a": 1.0, "b": 1.0})
    embedding = model(to_float_clips(batch)).embedding
    expected = F.cross_entropy(model.classify(embedding[:2], "b"), batch.labels[:2])
    torch.testing.assert_close(task(batch).terms["ce_b"], expected.detach())
