import copy

import pytest
import torch
import torch.nn.functional as F

from videokd.distill.ensemble import EnsembleTask, ExpertEnsemble
from videokd.distill.losses import entropy
from videokd.distill.objective import DistillObjective, DistillOptions
from videokd.distill.tasks import StudentTask, to_float

ARCHS = {"a": "mc3_18", "b": "x3d_s"}


@pytest.fixture
def ensemble(make_classifier):
    """Two experts of different width with heads for "b", on the classes of neither."""
    experts = {name: make_classifier(arch) for name, arch in ARCHS.items()}
    dims = {name: expert.backbone.embedding_dim for name, expert in experts.items()}
    assert len(set(dims.values())) == 2
    return ExpertEnsemble(experts, dims, dataset="b", num_classes=4)


def test_the_logits_are_the_mean_over_the_experts_of_a_linear_head_each(ensemble, make_batch):
    for norm in ensemble.norms.values():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    ensemble.eval()
    clips = to_float(make_batch().clips)
    each = []
    for name, expert in ensemble.experts.items():
        norm, head = ensemble.norms[name], ensemble.heads[name]
        seen = expert(clips).embedding
        normed = (seen - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        each.append(normed @ head.weight.T + head.bias)
    features = ensemble(clips)
    assert features.levels == {}
    logits = ensemble.classify(features.embedding, "b")
    torch.testing.assert_close(logits, sum(each) / 2)
    for found, expected in zip(ensemble.classify_each(features.embedding), each, strict=True):
        torch.testing.assert_close(found, expected)


def test_logits_of_another_dataset_are_refused(ensemble):
    with pytest.raises(ValueError, match="the heads are of b, not of a"):
        ensemble.classify(torch.zeros(1, 1), "a")


def test_each_head_learns_from_its_own_cross_entropy_only(ensemble, make_batch):
    task, batch = EnsembleTask(ensemble), make_batch(num_classes=4)
    output = task(batch)
    output.loss.backward()
    embedding = ensemble(to_float(batch.clips)).embedding
    losses = [F.cross_entropy(z, batch.labels) for z in ensemble.classify_each(embedding)]
    torch.testing.assert_close(output.loss, sum(losses) / 2)
    for (name, head), loss in zip(ensemble.heads.items(), losses, strict=True):
        torch.testing.assert_close(output.terms[f"ce_{name}"], loss.detach())
        (own,) = torch.autograd.grad(loss / 2, head.weight, retain_graph=True)
        assert own.any()
        torch.testing.assert_close(head.weight.grad, own)


def test_the_training_accuracy_is_that_of_the_mean(ensemble, make_batch):
    batch = make_batch((0,) * 6, num_classes=4)
    ensemble.eval()
    mean = ensemble.classify(ensemble(to_float(batch.clips)).embedding, "b")
    assert torch.equal(EnsembleTask(ensemble)(batch).correct, mean.argmax(dim=1) == batch.labels)


def test_the_experts_stay_bit_for_bit_and_outside_state_and_parameters(ensemble, make_batch):
    before = [copy.deepcopy(e.module.state_dict()) for e in ensemble.experts.values()]
    task = EnsembleTask(ensemble)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    heads = copy.deepcopy(ensemble.heads.state_dict())
    for seed in range(2):
        task.train()
        optimizer.zero_grad()
        task(make_batch(num_classes=4, seed=seed)).loss.backward()
        optimizer.step()
    after = [e.module.state_dict() for e in ensemble.experts.values()]
    assert all(torch.equal(a[k], b[k]) for a, b in zip(before, after, strict=True) for k in a)
    assert not any(torch.equal(heads[name], v) for name, v in ensemble.heads.state_dict().items())
    assert {name.split(".")[1] for name in task.state_dict()} == {"norms", "heads"}
    assert {name.split(".")[1] for name, _ in task.named_parameters()} == {"heads"}


def test_an_ensemble_teaches_by_its_logits(ensemble, make_classifier, make_batch):
    student = make_classifier(num_classes={"b": 4})
    objective = DistillObjective(DistillOptions(w_ce=0.0))
    task = StudentTask(student, ensemble, dataset="b", objective=objective)
    batch = make_batch(num_classes=4)
    output = task(batch)
    output.loss.backward()
    assert student.backbone.net.stem[0].weight.grad.any()
    logits = ensemble.classify(ensemble(to_float(batch.clips)).embedding, "b")
    torch.testing.assert_close(output.terms["entropy_teacher"], entropy(logits.detach()))
