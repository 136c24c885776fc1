import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videokd.distill.losses import soft_cross_entropy
from videokd.distill.tasks import StudentTask, classify_own, to_float


def test_a_generalist_learns_of_each_clip_the_logits_of_its_own_head(
    make_classifier, make_teacher, make_objective, make_batch
):
    student = make_classifier("r3d_18", num_classes={"a": 3, "b": 4})
    teacher = make_teacher().eval()
    objective = make_objective(w_kd=0.3, w_feat=0.0, w_ce=0.7)
    task = StudentTask(student, teacher, dataset=None, objective=objective).eval()
    batch = make_batch((0, 1, 1, 0, 1))
    output = task(batch)
    clips = to_float(batch.clips)
    embedding, target = student(clips).embedding, teacher(clips).embedding
    kd = ce = 0.0
    right = []
    for b, name in enumerate("abbab"):
        one, label = slice(b, b + 1), batch.labels[b : b + 1]
        logits = student.classify(embedding[one], name)
        kd += soft_cross_entropy(logits, teacher.classify(target[one], name), temperature=2.0) / 5
        ce += F.cross_entropy(logits, label) / 5
        right.append(bool(logits.argmax() == label))
    torch.testing.assert_close(output.loss, 0.3 * kd + 0.7 * ce)
    assert output.correct.tolist() == right
    assert output.counts["top1"] == 5
    output.loss.backward()
    assert all(head.weight.grad.abs().sum() > 0 for head in student.heads.values())


def test_logits_of_clips_of_small_datasets_have_no_probability_beyond_their_classes():
    model = nn.Module()
    model.classify = lambda x, name: x[:, : {"a": 2, "b": 3}[name]]
    logits = classify_own(model, torch.ones(2, 3), torch.tensor([0, 1]), ("a", "b"))
    assert logits.softmax(dim=1).tolist() == [[0.5, 0.5, 0.0], pytest.approx([1 / 3] * 3)]
