import pytest
import torch
import torch.nn.functional as F

from videokd.distill.mixup import MixParams, apply_mix
from videokd.distill.tasks import ClassificationTask, MixOptions, to_float
from videokd.models.joined import HEAD, JoinedClassifier

NUM_CLASSES = {"a": 3, "b": 5, "c": 4}


def test_a_mixed_batch_costs_what_the_datasets_cost_one_by_one(make_classifier, make_batch):
    weights = {"a": 1.0, "b": 0.25, "c": 2.0}
    model = make_classifier(num_classes=NUM_CLASSES).eval()
    batch = make_batch((0, 1, 0, 1, 1, 0))  # none of "c"
    output = ClassificationTask(model, weights).eval()(batch)
    total, embedding = 0.0, model(to_float(batch.clips)).embedding
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
    model = make_classifier(num_classes=NUM_CLASSES).eval()
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
    embedding = model(to_float(batch.clips)).embedding
    expected = F.cross_entropy(model.classify(embedding[:2], "b"), batch.labels[:2])
    torch.testing.assert_close(task(batch).terms["ce_b"], expected.detach())


@pytest.fixture
def joined(make_classifier):
    classifier = make_classifier(num_classes={HEAD: sum(NUM_CLASSES.values())})
    return JoinedClassifier(classifier, NUM_CLASSES).eval()


def test_one_joined_head_is_trained_on_the_classes_of_all_datasets_as_one_list(joined, make_batch):
    weights = {"a": 1.0, "b": 0.25, "c": 2.0}
    batch = make_batch((0, 2, 1, 2, 1, 0))
    output = ClassificationTask(joined, weights)(batch)
    logits = joined.classify_all(joined(to_float(batch.clips)).embedding)
    first = torch.tensor([0, 3, 8])  # of a, b and c among 12 classes
    labels = batch.labels + first[batch.dataset_ids]
    ce = F.cross_entropy(logits, labels, reduction="none")
    weight = torch.tensor([1.0, 0.25, 2.0])[batch.dataset_ids]
    torch.testing.assert_close(output.loss, (weight * ce).mean())
    assert torch.equal(output.correct, logits.argmax(dim=1) == labels)
    for i, name in enumerate(weights):
        torch.testing.assert_close(output.terms[f"ce_{name}"], ce[batch.dataset_ids == i].mean())


@pytest.mark.parametrize("is_joined", [False, True])
def test_mixed_clips_are_learnt_with_mixed_labels_of_their_own_dataset(
    make_classifier, joined, make_batch, monkeypatch, is_joined
):
    mix = MixParams(torch.tensor([2, 3, 0, 1]), torch.tensor([0.75, 1.0, 0.5, 0.25]), None)
    monkeypatch.setattr(MixOptions, "draw", lambda self, batch: mix)
    model = joined if is_joined else make_classifier(num_classes=NUM_CLASSES).eval()
    batch = make_batch((0, 1, 0, 1))
    batch.labels[:] = torch.tensor([2, 4, 1, 0])
    output = ClassificationTask(model, {"a": 1.0, "b": 0.5})(batch)
    embedding = model({"clip": apply_mix(batch.main / 255, mix)}).embedding
    expected = 0.0
    for b, name in enumerate("abab"):
        logits = joined.classify_all(embedding) if is_joined else model.classify(embedding, name)
        log_p = logits[b].log_softmax(dim=0)
        first = 3 if is_joined and name == "b" else 0
        own, other = batch.labels[b] + first, batch.labels[mix.partner[b]] + first
        ce = -(mix.weight[b] * log_p[own] + (1 - mix.weight[b]) * log_p[other])
        expected = expected + {"a": 1.0, "b": 0.5}[name] * ce / 4
    torch.testing.assert_close(output.loss, expected)


def test_progress_changes_nothing(make_classifier, make_batch):
    task = ClassificationTask(make_classifier(num_classes={"a": 3}), {"a": 1.0})
    first, last = (task(make_batch(), progress=progress).loss for progress in (0.0, 1.0))
    assert torch.equal(first, last)
