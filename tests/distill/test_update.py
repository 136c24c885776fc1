"""Steps in parts, and precisions, of whole tasks: the gradients are those of the plain step."""

import copy

import pytest
import torch
from torch import nn

from videokd.distill.losses.features import feature_mse
from videokd.distill.tasks import ClassificationTask
from videokd.engine.meters import MEASURED, Meters
from videokd.engine.optim import build_optimizer
from videokd.engine.update import Learner, Update
from videokd.models.classifier import trains_in_fp16
from videokd.models.frozen import Frozen


def _update(task, *, lr=0.1, scaler=None, **options):
    optimizer = build_optimizer(task, name="sgd", base_lr=lr, weight_decay=0.0)
    meters = Meters(torch.device("cpu"))
    learner = Learner(task, optimizer, scaler=scaler)
    return Update(learner, meters, clip_grad_norm=0.0, **options), learner, meters


def _gradients(task, batch, num_parts):
    """Return the gradients of one step, which SGD without a rate leaves for us to see."""
    update, _, meters = _update(task, lr=1e-30, num_parts=num_parts)
    update(batch, 0.5, step=0, lr=0.0)
    return {name: p.grad for name, p in task.named_parameters()}, meters.summarise()


def _check_same(task, batch, num_parts):
    # Without what clips of a batch have to do with each other: batch norm's statistics; and
    # without what is drawn: dropped layers.
    task.eval()
    expected, line = _gradients(task, batch, 1)
    found, other_line = _gradients(task, batch, num_parts)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] is None) == (gradient is None), name
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient, rtol=2e-4, atol=2e-6, msg=name)
    for key in set(line) - set(MEASURED):
        assert other_line[key] == pytest.approx(line[key], rel=1e-4), key


@pytest.mark.parametrize("arch", ["r3d_18", "mvit_v2_s"])
def test_four_parts_of_two_clips_have_the_gradient_of_eight(make_classifier, make_batch, arch):
    model = make_classifier(arch, {"a": 3, "b": 3})
    task = ClassificationTask(model, {"a": 1.0, "b": 0.5})
    _check_same(task, make_batch((0, 0, 1, 0, 1, 1, 1, 0)), 4)


@pytest.mark.parametrize("num_clips", [7, 5, 3])
def test_parts_that_lost_clips_count_by_those_they_have(make_classifier, make_batch, num_clips):
    task = ClassificationTask(make_classifier(), {"a": 1.0})
    _check_same(task, make_batch((0,) * num_clips), 3)


def test_a_student_that_sees_clips_of_others_has_the_gradient_of_the_whole(
    make_student_task, make_batch
):
    # Own clips, of which alone the cross-entropy is a mean, lie unevenly: 2, 1 and 0 of 2, 2, 3.
    task = make_student_task(trained_on=("a", "b"))
    _check_same(task, make_batch((0, 0, 1, 0, 1, 1, 1)), 3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_terms_are_float32_whatever_the_network_computes_in(
    make_classifier, make_student_task, make_batch, precision
):
    task = make_student_task()
    for model in (task.model, *(e.module for e in task.teacher.module.experts.values())):
        model.precision = precision
    seen = {}
    task.model.backbone.register_forward_hook(lambda m, a, out: seen.update(out.levels))
    output = task(make_batch((0,) * 4))
    assert seen["stage2"].dtype != torch.float32
    assert output.loss.dtype == torch.float32
    floats = {n: term for n, term in output.terms.items() if term.is_floating_point()}
    assert {term.dtype for term in floats.values()} == {torch.float32}
    one, other = torch.full((2, 3), 300.0), torch.zeros(2, 3)
    # 300^2 is no number of float16.
    assert feature_mse(one.half(), other.half()).item() == 90_000


def test_only_what_is_trained_in_float16_needs_a_scale(make_classifier):
    half = make_classifier(precision="fp16")
    assert trains_in_fp16(ClassificationTask(half, {"a": 1.0}))
    assert not trains_in_fp16(ClassificationTask(make_classifier(precision="bf16"), {"a": 1.0}))
    assert not trains_in_fp16(nn.ModuleList([Frozen(half), make_classifier()]))


def test_a_network_trains_in_float16(make_classifier, make_batch):
    task = ClassificationTask(make_classifier(precision="fp16"), {"a": 1.0})
    before = copy.deepcopy(task.state_dict())
    update, _, meters = _update(task, scaler=torch.amp.GradScaler("cpu"))
    for step in range(4):
        update(make_batch(seed=step), 0.0, step=step, lr=0.1)
    assert update.guard.num_skipped < 4
    assert meters.summarise()["loss"] > 0
    after = task.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert not torch.equal(after["model.heads.a.weight"], before["model.heads.a.weight"])
