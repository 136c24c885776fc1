import pytest
import torch

from videokd.distill.expert_group import ExpertGroup, GroupObjective
from videokd.distill.objective import Targets
from videokd.distill.tasks import StudentTask, to_float


@pytest.fixture
def group(make_classifier):
    experts = {"a": make_classifier("r3d_18"), "b": make_classifier("r3d_18")}
    return ExpertGroup(experts, "a", ["stage2", "stage4"]).eval()


def test_a_group_gives_the_levels_of_all_experts_and_the_logits_of_one(group, make_batch):
    clips = to_float(make_batch().clips)
    features = group(clips)
    assert list(features.levels) == [
        f"{name}/{level}" for name in "ab" for level in ("stage2", "stage4", "embedding")
    ]
    for name, expert in group.experts.items():
        own = expert(clips)
        assert torch.equal(features.levels[f"{name}/stage4"], own.levels["stage4"])
        assert torch.equal(features.levels[f"{name}/embedding"], own.embedding)
    own = group.experts["a"]
    expected = own.classify(own(clips).embedding, "a")
    assert torch.equal(group.classify(features.embedding, "a"), expected)


def test_the_loss_is_the_mean_of_the_losses_under_each_expert(
    group, make_classifier, make_objective, make_batch
):
    levels = ("stage2", "stage4", "embedding")
    objectives = {name: make_objective(levels=levels, w_kd=0.3, w_ce=0.2) for name in "ab"}
    student, batch = make_classifier("r3d_18"), make_batch()
    task = StudentTask(student, group, dataset="a", objective=GroupObjective(objectives)).eval()
    output = task(batch)
    clips = to_float(batch.clips)
    features, taught = student(clips), group(clips)
    logits = student.classify(features.embedding, "a")
    ce = torch.nn.functional.cross_entropy(logits, batch.labels)
    expected = 0.0
    for name, objective in objectives.items():
        own = {level: taught.levels[f"{name}/{level}"] for level in levels}
        targets = Targets(group.classify(taught.embedding, "a"), own)
        expected += objective(features, logits, targets, labels=batch.labels, ce=ce)[0] / 2
    torch.testing.assert_close(output.loss, expected)
    assert "feat_b/stage2" in output.terms
