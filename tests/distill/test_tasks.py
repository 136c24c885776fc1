import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from videokd.distill.losses import entropy, feature_mse, soft_cross_entropy
from videokd.distill.mixup import MixParams, apply_mix
from videokd.distill.tasks import ClassificationTask, MixOptions, to_float
from videokd.engine.optim import build_optimizer

LEVELS = ["stage1", "stage2", "stage3", "stage4", "embedding"]
PARTS = ["stem", "layer1", "layer2", "layer3", "layer4"]
MIX = MixParams(torch.tensor([1, 0, 3, 2]), torch.tensor([0.75, 0.5, 1.0, 0.0]), None)


@pytest.fixture
def mixed(monkeypatch):
    """Every batch of four is mixed by ``MIX``."""
    monkeypatch.setattr(MixOptions, "draw", lambda self, batch: MIX)
    return MIX


def _gradients(task, batch, **options):
    task.zero_grad()
    task(batch, **options).loss.backward()
    net = task.model.backbone.net
    return {part: [p.grad for p in net.get_submodule(part).parameters()] for part in PARTS}


def test_clips_become_floats_between_0_and_1(make_batch):
    clips = to_float(make_batch().clips)["clip"]
    assert clips.dtype == torch.float32
    assert (clips.min().item(), clips.max().item()) == (0.0, 1.0)


def test_the_students_loss_is_the_documented_sum_of_its_terms(
    make_student_task, make_objective, make_batch
):
    objective = make_objective(
        w_kd=0.7, w_feat=0.3, w_ce=0.11, level_schedules={"stage2": "rising"}
    )
    task = make_student_task(objective=objective).eval()
    batch = make_batch()
    output = task(batch, progress=0.5)
    clips = to_float(batch.clips)
    seen, features = task.teacher(clips), task.model(clips)
    teacher_logits = task.teacher.module.classify(seen.embedding, "a")
    logits = task.model.classify(features.embedding, "a")
    feats = [feature_mse(features.levels[level], seen.levels[level]) for level in LEVELS[:4]]
    feats.append(feature_mse(features.embedding, seen.embedding))
    expected = (
        0.7 * soft_cross_entropy(logits, teacher_logits, temperature=2.0)
        + 0.3 * (sum(feats) - 0.5 * feats[1]) / 5
        + 0.11 * F.cross_entropy(logits, batch.labels)
    )
    torch.testing.assert_close(output.loss, expected)
    assert torch.equal(output.correct, logits.argmax(1) == batch.labels)
    agreement = (logits.argmax(1) == teacher_logits.argmax(1)).float().mean()
    teacher_top1 = (teacher_logits.argmax(1) == batch.labels).float().mean()
    for name, value in {
        **{f"feat_{level}": value for level, value in zip(LEVELS, feats, strict=True)},
        "agreement": agreement,
        "teacher_top1": teacher_top1,
        "entropy_student": entropy(logits),
        "entropy_teacher": entropy(teacher_logits),
    }.items():
        torch.testing.assert_close(output.terms[name], value.detach())
    assert not any(value.requires_grad for value in output.terms.values())


@pytest.mark.parametrize("level", LEVELS)
def test_every_levels_term_reaches_the_students_stage_and_all_below(
    make_student_task, make_objective, make_batch, level
):
    objective = make_objective(levels=[level], w_kd=0.0, w_ce=0.0)
    gradients = _gradients(make_student_task(objective=objective), make_batch())
    expected = PARTS[: LEVELS.index(level) + 2]
    for part in PARTS:
        reached = [gradient is not None and bool(gradient.any()) for gradient in gradients[part]]
        assert reached == [part in expected] * len(reached), part


@pytest.mark.parametrize("level", LEVELS)
def test_removing_a_level_changes_nothing_of_the_student_above_it(
    make_student_task, make_objective, make_batch, level
):
    task, batch = make_student_task(), make_batch()
    whole = _gradients(task, batch)
    others = [name for name in LEVELS if name != level]
    task.objective = make_objective(levels=others, level_weights={level: 0.0})
    without = _gradients(task, batch)
    assert f"feat_{level}" not in task(batch).terms
    place = LEVELS.index(level) + 2
    for part in PARTS:
        pairs = list(zip(whole[part], without[part], strict=True))
        is_above = part in PARTS[place:]
        assert all(torch.equal(a, b) for a, b in pairs) == is_above, part


@pytest.mark.parametrize("weight", ["w_kd", "w_feat", "w_ce"])
def test_each_term_alone_reaches_every_stage_of_the_student(
    make_student_task, make_objective, make_batch, weight
):
    weights = {"w_kd": 0.0, "w_feat": 0.0, "w_ce": 0.0, weight: 1.0}
    task = make_student_task(objective=make_objective(**weights))
    for part, grads in _gradients(task, make_batch()).items():
        assert all(grad.any() for grad in grads), part


@pytest.mark.parametrize("always", [False, True])
def test_projectors_are_trained_where_shapes_differ_or_when_asked_for(
    make_student_task, make_objective, make_batch, always
):
    same = make_student_task(objective=make_objective(always=always))
    assert bool(list(same.objective.parameters())) is always
    other = make_student_task("x3d_s", objective=make_objective("x3d_s", always=always))
    other(make_batch()).loss.backward()
    parameters = list(other.objective.parameters())
    assert parameters
    assert all(p.grad.any() for p in parameters)


def _train(task, make_batch, num_steps=3):
    optimizer = build_optimizer(task, name="sgd", base_lr=0.1, weight_decay=0.05)
    for seed in range(num_steps):
        task.train()
        optimizer.zero_grad()
        task(make_batch((0, 1, 0, 1), seed=seed)).loss.backward()
        optimizer.step()
    return optimizer


def _states(modules):
    return [copy.deepcopy(module.state_dict()) for module in modules]


def _are_equal(one, other):
    return all(torch.equal(a[k], b[k]) for a, b in zip(one, other, strict=True) for k in a)


@pytest.mark.parametrize("standardise", ["none", "batch_norm", "running", "phi_s"])
def test_frozen_experts_stay_bit_for_bit_through_joint_and_student_training(
    make_teacher, make_student_task, make_batch, standardise
):
    teacher = make_teacher(standardise=standardise, expert_drop=0.25)
    experts = [expert.module for expert in teacher.experts.values()]
    before, fresh = _states(experts), _states([teacher])
    _train(ClassificationTask(teacher, {"a": 1.0, "b": 1.0}), make_batch)
    assert _are_equal(_states(experts), before)
    trained = _states([teacher])
    assert not _are_equal(trained, fresh)
    task = make_student_task(teacher=teacher)
    student = _states([task.model])
    _train(task, make_batch)
    assert not _are_equal(_states([task.model]), student)
    assert _are_equal(_states([teacher]), trained)
    assert _are_equal(_states(experts), before)
    assert not any(m.training for net in (teacher, *experts) for m in net.modules())


@pytest.mark.parametrize("fine_tune", ["none", "all"])
def test_nothing_of_the_teacher_is_in_a_students_state_or_optimizer(
    make_teacher, make_student_task, make_objective, make_batch, fine_tune
):
    teacher = make_teacher(fine_tune=fine_tune)
    task = make_student_task(teacher=teacher, objective=make_objective(always=True))
    optimizer = _train(task, make_batch, 1)
    assert {name.split(".")[0] for name in task.state_dict()} == {"model", "objective"}
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert mine == {id(p) for p in [*task.model.parameters(), *task.objective.parameters()]}
    theirs = list(teacher.parameters())
    for expert in teacher.experts.values():
        theirs += expert.module.parameters()
    assert not mine & {id(p) for p in theirs}
    assert all(p.grad is None for p in theirs)


def test_frozen_experts_are_in_neither_the_joint_tasks_state_nor_its_optimizer(
    make_teacher, make_batch
):
    teacher = make_teacher()
    task = ClassificationTask(teacher, {"a": 1.0, "b": 1.0})
    optimizer = _train(task, make_batch, 1)
    assert not any("experts" in name for name in task.state_dict())
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    frozen = [p for expert in teacher.experts.values() for p in expert.module.parameters()]
    assert frozen
    assert not trained & {id(p) for p in frozen}


def test_an_expert_can_be_the_teacher(make_classifier, make_student_task, make_batch):
    teacher = make_classifier("r2plus1d_18").eval()
    batch = make_batch()
    output = make_student_task(teacher=teacher)(batch)
    with torch.no_grad():
        logits = teacher.classify(teacher(to_float(batch.clips)).embedding, "a")
    torch.testing.assert_close(output.terms["entropy_teacher"], entropy(logits))


@pytest.mark.parametrize("is_fixed", [False, True])
def test_the_teacher_sees_the_students_clip_or_in_fixed_teaching_the_plain_one(
    make_student_task, make_batch, is_fixed
):
    task = make_student_task(is_fixed=is_fixed)
    batch = replace(make_batch(), plain_clips=make_batch(seed=1).clips)
    (student,), (teacher,) = _watch(task, batch)
    assert torch.equal(student, batch.main / 255)
    assert torch.equal(teacher, (batch.plain_clips if is_fixed else batch.clips)["clip"] / 255)


def _watch(task, batch):
    seen = [], []
    for module, clips in zip((task.model, task.teacher.module), seen, strict=True):
        module.register_forward_pre_hook(lambda _, args, clips=clips: clips.append(args[0]["clip"]))
    task(batch)
    return seen


def test_clips_of_other_datasets_are_taught_with_but_their_labels_do_not_count(
    make_student_task, make_objective, make_batch
):
    objective = make_objective(w_kd=0.3, w_feat=0.0, w_ce=0.7)
    task = make_student_task(objective=objective, trained_on=("b", "a", "c")).eval()
    batch = make_batch((1, 0, 1, 2, 0, 1))
    batch.labels[1] = batch.labels[3] = 99  # of a class that the student's dataset does not have
    output = task(batch)
    clips = to_float(batch.clips)
    logits = task.model.classify(task.model(clips).embedding, "a")
    seen = task.teacher(clips).embedding
    kd = soft_cross_entropy(logits, task.teacher.module.classify(seen, "a"), temperature=2.0)
    mine = [0, 2, 5]
    ce = F.cross_entropy(logits[mine], batch.labels[mine], reduction="sum")
    torch.testing.assert_close(output.loss, 0.3 * kd + 0.7 * ce / len(mine))
    torch.testing.assert_close(output.terms["kd"], kd.detach())
    torch.testing.assert_close(output.terms["ce"], ce.detach() / 3)
    right = logits.argmax(dim=1) == batch.labels
    assert output.correct.tolist() == [bool(right[b]) and b in mine for b in range(6)]
    assert output.counts["ce"] == output.counts["top1"] == output.counts["teacher_top1"] == 3


def test_fixed_teaching_without_plain_clips_is_refused(make_student_task, make_batch):
    with pytest.raises(ValueError, match="fixed teaching needs batches with plain_clips"):
        make_student_task(is_fixed=True)(make_batch())


def test_mixed_clips_are_the_same_for_teacher_and_student(make_student_task, make_batch, mixed):
    batch = make_batch()
    (student,), (teacher,) = _watch(make_student_task(), batch)
    assert torch.equal(student, teacher)
    assert torch.equal(student, apply_mix(batch.main / 255, mixed))


def test_a_mix_is_drawn_anew_at_each_step_as_the_options_say(make_student_task, make_batch):
    batch = make_batch()
    task = make_student_task(mixing=MixOptions(mixup_alpha=0.8))
    first, second = (_watch(task, batch)[0][0] for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, batch.main / 255)
    assert MixOptions().draw(batch) is None
    assert MixOptions(cutmix_alpha=1.0).draw(batch).boxes is not None
    assert MixOptions(mixup_alpha=1.0).draw(batch).boxes is None


def test_the_student_learns_labels_mixed_like_its_clips(
    make_student_task, make_objective, make_batch, mixed
):
    task = make_student_task(objective=make_objective(w_kd=0.0, w_feat=0.0, w_ce=1.0)).eval()
    batch = make_batch()
    embedding = task.model({"clip": apply_mix(batch.main / 255, mixed)}).embedding
    log_p = task.model.classify(embedding, "a").log_softmax(dim=1)
    rows = [
        -(weight * log_p[b, batch.labels[b]] + (1 - weight) * log_p[b, batch.labels[partner]])
        for b, (partner, weight) in enumerate(zip(mixed.partner, mixed.weight, strict=True))
    ]
    torch.testing.assert_close(task(batch).loss, torch.stack(rows).mean())


def test_with_all_clips_dropped_only_the_labels_teach(
    make_student_task, make_objective, make_batch, monkeypatch
):
    monkeypatch.setattr(torch, "rand", lambda *size, **options: torch.full(size, 0.985))
    task, batch = make_student_task(objective=make_objective(teacher_drop=0.99)), make_batch()
    dropped = _gradients(task, batch)
    plain = make_student_task()
    plain.model = task.model
    plain.objective = make_objective(w_kd=0.0, w_feat=0.0)
    expected = _gradients(plain, batch)
    for part in PARTS:
        assert all(torch.equal(a, b) for a, b in zip(dropped[part], expected[part], strict=True))
        assert all(gradient.any() for gradient in expected[part])


def test_terms_of_the_teacher_are_counted_by_the_clips_that_are_kept(
    make_student_task, make_objective, make_batch, monkeypatch
):
    rand = torch.tensor([0.1, 0.9, 0.2, 0.8])
    monkeypatch.setattr(torch, "rand", lambda *size, **options: rand)
    task = make_student_task(objective=make_objective(teacher_drop=0.5))
    counts = task(make_batch()).counts
    taught = ["kd", *(f"feat_{level}" for level in LEVELS)]
    assert {name: counts[name].item() for name in taught} == dict.fromkeys(taught, 2)
    assert counts["ce"].item() == counts["top1"].item() == 4
    assert not {"agreement", "entropy_student", "entropy_teacher"} & counts.keys()


def test_clips_are_dropped_anew_at_each_step(make_student_task, make_objective, make_batch):
    task, kept = make_student_task(objective=make_objective(teacher_drop=0.5)), []
    task.objective.register_forward_pre_hook(
        lambda module, args, options: kept.append(options["keep"]), with_kwargs=True
    )
    for _ in range(4):
        task(make_batch())
    assert all(keep.shape == (4,) and keep.dtype == torch.bool for keep in kept)
    assert len({tuple(keep.tolist()) for keep in kept}) > 1
