"""Networks that take clips of different shapes: each is fed with its own of the same batch."""

from dataclasses import replace

import pytest
import torch

from videokd.distill.ensemble import EnsembleTask, ExpertEnsemble
from videokd.distill.mixup import MixParams, apply_mix
from videokd.distill.tasks import ClassificationTask, MixOptions

MIX = MixParams(torch.tensor([1, 0, 3, 2]), torch.tensor([0.75, 0.5, 1.0, 0.0]), None)


@pytest.fixture
def logits_only(make_classifier, make_objective):
    """A teacher without fused levels, whose maps need not fit the student's."""
    return {"teacher": make_classifier(), "objective": make_objective(levels=["embedding"])}


def _with_small_clips(batch, kind="clips"):
    """Return a batch of clips "main" that also holds half their frames and size, as "small"."""
    clips = {"main": batch.main}
    small = {"small": batch.main[:, :, ::2, ::2, ::2].contiguous()}
    return replace(batch, **{"clips": clips, kind: {**clips, **small}})


def _with_names(task, teacher="small"):
    """Let the student take the clips "main", and its teacher, one network, others."""
    task.model.clip_name, task.teacher.module.clip_name = "main", teacher
    return task


@pytest.mark.parametrize("is_fixed", [False, True])
def test_student_and_teacher_see_clips_of_their_own_shape(
    make_student_task, logits_only, make_batch, is_fixed
):
    task = _with_names(make_student_task(**logits_only, is_fixed=is_fixed))
    kind = "plain_clips" if is_fixed else "clips"
    batch = _with_small_clips(make_batch(), kind)
    seen = _watch_backbones(task, batch)
    assert torch.equal(seen[0], batch.main / 255)
    assert torch.equal(seen[1], getattr(batch, kind)["small"] / 255)


def _watch_backbones(task, batch):
    seen = []
    for network in (task.teacher.module, task.model):
        network.backbone.register_forward_pre_hook(lambda _, args: seen.insert(0, args[0]))
    task(batch)
    return seen


def test_experts_of_a_joint_teacher_see_clips_of_their_own_shape(
    make_student_task, make_teacher, make_batch
):
    teacher = make_teacher()
    for name, clip_name in {"a": "small", "b": "main"}.items():
        teacher.experts[name].module.clip_name = clip_name
    task = make_student_task(teacher=teacher)
    task.model.clip_name = "main"
    batch = _with_small_clips(make_batch())
    seen = {}
    for name, expert in teacher.experts.items():
        expert.module.backbone.register_forward_pre_hook(
            lambda _, args, name=name: seen.update({name: args[0]})
        )
    assert task(batch).loss.isfinite()
    assert torch.equal(seen["a"], batch.clips["small"] / 255)
    assert torch.equal(seen["b"], batch.main / 255)
    joint = ClassificationTask(teacher, {"a": 1.0, "b": 1.0})
    seen.clear()
    assert joint(batch).loss.isfinite()
    assert seen["a"].shape[-1] == 16


@pytest.mark.parametrize(
    "boxes", [None, torch.tensor([[0, 0, 0, 0], [4, 6, 10, 8], [0, 3, 32, 29], [31, 0, 1, 5]])]
)
def test_clips_of_several_shapes_are_mixed_alike(
    make_student_task, logits_only, make_batch, monkeypatch, boxes
):
    mix = replace(MIX, boxes=boxes, clip_size=(32, 32))
    monkeypatch.setattr(MixOptions, "draw", lambda self, batch: mix)
    task = _with_names(make_student_task(**logits_only))
    batch = _with_small_clips(make_batch())
    student, teacher = _watch_backbones(task, batch)
    assert torch.equal(student, apply_mix(batch.main / 255, mix))
    # Half the size: edges at 4, 14 and 6, 14 come to 2, 7 and 3, 7; those at 3 and 31 to 2 and 16.
    small = torch.tensor([[0, 0, 0, 0], [2, 3, 5, 4], [0, 2, 16, 14], [16, 0, 0, 3]])
    halved = replace(mix, boxes=None if boxes is None else small, clip_size=None)
    assert torch.equal(teacher, apply_mix(batch.clips["small"] / 255, halved))


def test_each_expert_sees_clips_of_its_own_shape(make_classifier, make_batch):
    experts = {name: make_classifier() for name in "ab"}
    dims = dict.fromkeys(experts, experts["a"].backbone.embedding_dim)
    ensemble = ExpertEnsemble(experts, dims, dataset="b", num_classes=4)
    batch = make_batch((0,) * 4, num_classes=4)
    small = batch.main[..., ::2, ::2].contiguous()
    batch = replace(batch, clips={"main": batch.main, "small": small})
    seen = {}
    for name, clip_name in {"a": "main", "b": "small"}.items():
        network = ensemble.experts[name].module
        network.clip_name = clip_name
        network.backbone.register_forward_pre_hook(
            lambda _, args, name=name: seen.update({name: args[0]})
        )
    assert EnsembleTask(ensemble)(batch).loss.isfinite()
    assert torch.equal(seen["a"], batch.main / 255)
    assert torch.equal(seen["b"], small / 255)
