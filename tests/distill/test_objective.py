import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videokd.distill.losses import (
    FEATURE_LOSSES,
    decoupled_kd,
    feature_mse,
    soft_cross_entropy,
    standardise_logits,
)
from videokd.distill.objective import DistillObjective, DistillOptions, Targets
from videokd.distill.projectors import Projectors
from videokd.fusion.standardise import RunningStandardiser
from videokd.models.levels import Features, LevelShapes

LEVELS = ("stage1", "stage2", "embedding")
SHAPES = LevelShapes({"stage1": (4, 2, 3, 3), "stage2": (6, 1, 2, 2)}, 5)
NUM_CLIPS, NUM_CLASSES = 4, 3
WEIGHTS = {"stage1": 2.0, "embedding": 0.5}
LOGIT_LOSSES = {
    "kd": lambda mine, theirs, labels: soft_cross_entropy(mine, theirs, temperature=3.0),
    "dkd": lambda mine, theirs, labels: decoupled_kd(mine, theirs, labels, temperature=3.0),
    "standardised kd": lambda mine, theirs, labels: soft_cross_entropy(
        standardise_logits(mine), standardise_logits(theirs), temperature=3.0
    ),
}
PER_CLIP_FEATURE_LOSSES = ("mse", "smooth_l1_cosine", "attention")


class Case:
    """What a student and its teacher say of one batch; the student's are leaves of the graph."""

    def __init__(self):
        shapes = {**SHAPES.levels, "embedding": (SHAPES.embedding_dim,)}
        self.seen = {
            name: torch.randn(NUM_CLIPS, *s, requires_grad=True) for name, s in shapes.items()
        }
        self.targets = {name: torch.randn(NUM_CLIPS, *s) + 1 for name, s in shapes.items()}
        self.logits = torch.randn(NUM_CLIPS, NUM_CLASSES, requires_grad=True)
        self.teacher_logits = torch.randn(NUM_CLIPS, NUM_CLASSES)
        self.labels = torch.tensor([0, 2, 1, 2])

    def only(self, keep):
        """Return the case of the kept clips alone."""
        kept = Case()
        kept.seen = {name: x.detach()[keep].requires_grad_() for name, x in self.seen.items()}
        kept.targets = {name: x[keep] for name, x in self.targets.items()}
        kept.logits = self.logits.detach()[keep].requires_grad_()
        kept.teacher_logits, kept.labels = self.teacher_logits[keep], self.labels[keep]
        return kept

    @property
    def ce(self):
        return F.cross_entropy(self.logits, self.labels)

    def ask(self, objective, **options):
        maps = {name: value for name, value in self.seen.items() if name != "embedding"}
        return objective(
            Features(maps, self.seen["embedding"]),
            self.logits,
            Targets(self.teacher_logits, self.targets),
            labels=self.labels,
            ce=self.ce,
            **options,
        )

    def gradients(self, objective, **options):
        leaves = {**self.seen, "logits": self.logits}
        for leaf in leaves.values():
            leaf.grad = None
        self.ask(objective, **options)[0].backward()
        return {name: leaf.grad for name, leaf in leaves.items()}


@pytest.fixture
def case():
    return Case()


def _objective(*, levels=LEVELS, standardisers=None, **options):
    return DistillObjective(
        DistillOptions(**options),
        projectors=Projectors(SHAPES, SHAPES, levels=levels),
        num_levels=len(LEVELS),
        standardisers=standardisers,
    )


def _mse(student, teacher):
    difference = student.detach().double().numpy() - np.asarray(teacher, dtype=np.float64)
    return float((difference**2).mean())


def _soft_ce(student, teacher, temperature):
    logits = student.detach().double().numpy() / temperature
    log_q = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    p = np.exp(teacher.double().numpy() / temperature)
    return float(-(p / p.sum(axis=1, keepdims=True) * log_q).sum(axis=1).mean()) * temperature**2


@pytest.mark.parametrize(
    ("progress", "rising", "falling"), [(0.0, 0.0, 1.0), (0.5, 0.5, 0.5), (1.0, 1.0, 0.0)]
)
def test_the_loss_is_the_documented_sum(case, progress, rising, falling):
    objective = _objective(
        w_kd=0.7,
        w_feat=0.3,
        w_ce=0.11,
        logit_loss=LOGIT_LOSSES["kd"],
        level_weights=WEIGHTS,
        level_schedules={"stage1": "rising", "stage2": "falling"},
    )
    loss, terms = case.ask(objective, progress=progress)
    kd = _soft_ce(case.logits, case.teacher_logits, 3.0)
    mse = {level: _mse(case.seen[level], case.targets[level]) for level in LEVELS}
    expected = 0.7 * kd + 0.11 * case.ce.item()
    expected += 0.3 * (2.0 * rising * mse["stage1"] + falling * mse["stage2"]) / 3
    expected += 0.3 * 0.5 * mse["embedding"] / 3
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    # The log shows the terms as they are, without weights and schedules.
    wanted = {"kd": kd, "ce": case.ce.item(), **{f"feat_{level}": mse[level] for level in LEVELS}}
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(wanted, rel=1e-5)


def test_the_defaults_are_the_published_weights_and_temperature(case):
    loss, terms = case.ask(_objective())
    kd = _soft_ce(case.logits, case.teacher_logits, 2.0)
    feats = [_mse(case.seen[level], case.targets[level]) for level in LEVELS]
    expected = 0.6 * kd + 0.2 * sum(feats) / 3 + 0.2 * case.ce.item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert terms["kd"].item() == pytest.approx(kd, rel=1e-5)


def test_targets_with_a_standardiser_are_compared_standardised(case):
    objective = _objective(standardisers={"stage1": RunningStandardiser(4)})
    _, terms = case.ask(objective)
    target = case.targets["stage1"].double().numpy()
    mean, var = target.mean(axis=(0, 2, 3, 4)), target.var(axis=(0, 2, 3, 4))
    by_hand = (target - mean[:, None, None, None]) / np.sqrt(var + 1e-5)[:, None, None, None]
    assert terms["feat_stage1"].item() == pytest.approx(
        _mse(case.seen["stage1"], by_hand), rel=1e-4
    )
    raw = _mse(case.seen["stage2"], case.targets["stage2"])
    assert terms["feat_stage2"].item() == pytest.approx(raw, rel=1e-5)


def test_standardisers_learn_while_training_only_and_are_kept_with_the_objective(case):
    objective = _objective(standardisers={"stage2": RunningStandardiser(6)})
    case.ask(objective.eval())
    assert objective.state_dict()["standardisers.stage2.num_batches"] == 0
    case.ask(objective.train())
    assert objective.state_dict()["standardisers.stage2.num_batches"] == 1


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("is_standardised", [False, True])
def test_removing_a_level_leaves_the_gradients_of_the_others_bit_for_bit(
    case, level, is_standardised
):
    channels = {"stage1": 4, "stage2": 6, "embedding": 5}
    others = tuple(name for name in LEVELS if name != level)

    def gradients(levels, weights):
        kinds = {name: RunningStandardiser(channels[name]) for name in levels}
        standardisers = kinds if is_standardised else None
        objective = _objective(levels=levels, standardisers=standardisers, level_weights=weights)
        return case.gradients(objective)

    whole = gradients(LEVELS, WEIGHTS)
    assert all(gradient.any() for gradient in whole.values())
    without = gradients(others, {**WEIGHTS, level: 0.0})
    assert without[level] is None
    for name in (*others, "logits"):
        assert torch.equal(without[name], whole[name]), name
    # A level that is compared all the same, at weight 0, has no say either.
    at_zero = gradients(LEVELS, {**WEIGHTS, level: 0.0})
    assert not at_zero[level].any()
    assert all(torch.equal(at_zero[name], whole[name]) for name in others)


@pytest.mark.parametrize("removed", ["w_kd", "w_feat", "w_ce"])
def test_removing_a_term_removes_its_gradient_and_no_other(case, removed):
    gradients = case.gradients(_objective(**{removed: 0.0}))
    assert all(gradients[level].any() == (removed != "w_feat") for level in LEVELS)
    parts = {
        "w_kd": 0.6 * soft_cross_entropy(case.logits, case.teacher_logits, temperature=2.0),
        "w_ce": 0.2 * case.ce,
    }
    loss = sum(part for name, part in parts.items() if name != removed)
    (expected,) = torch.autograd.grad(loss, case.logits)
    torch.testing.assert_close(gradients["logits"], expected)


@pytest.mark.parametrize("feature_loss", PER_CLIP_FEATURE_LOSSES)
@pytest.mark.parametrize("logit_loss", ["kd", "dkd", "standardised kd"])
def test_a_dropped_clip_changes_neither_terms_nor_gradients(case, logit_loss, feature_loss):
    keep = torch.tensor([True, False, True, True])
    options = {
        "logit_loss": LOGIT_LOSSES[logit_loss],
        "feature_loss": FEATURE_LOSSES[feature_loss].function,
    }
    objective = _objective(w_ce=0.0, **options)
    gradients = case.gradients(objective, keep=keep)
    loss, terms = case.ask(objective, keep=keep)
    kept = case.only(keep)
    kept_gradients = kept.gradients(objective)
    kept_loss, kept_terms = kept.ask(objective)
    torch.testing.assert_close(loss, kept_loss)
    for name in ("kd", *(f"feat_{level}" for level in LEVELS)):
        torch.testing.assert_close(terms[name], kept_terms[name])
    for name, gradient in gradients.items():
        assert not gradient[1].any(), name
        torch.testing.assert_close(gradient[keep], kept_gradients[name])
    # The labels still say something.
    assert case.gradients(_objective(**options), keep=keep)["logits"][1].any()


def test_dropping_all_clips_leaves_the_cross_entropy(case):
    none = torch.zeros(NUM_CLIPS, dtype=torch.bool)
    loss, terms = case.ask(_objective(), keep=none)
    torch.testing.assert_close(loss, 0.2 * case.ce)
    assert {value.item() for name, value in terms.items() if name != "ce"} == {0.0}
    gradients = case.gradients(_objective(), keep=none)
    assert not any(gradients[level].any() for level in LEVELS)
    (expected,) = torch.autograd.grad(0.2 * case.ce, case.logits)
    assert torch.equal(gradients["logits"], expected)


def test_dropping_no_clip_changes_nothing(case):
    every = case.gradients(_objective(), keep=torch.ones(NUM_CLIPS, dtype=torch.bool))
    plain = case.gradients(_objective())
    for name, gradient in plain.items():
        torch.testing.assert_close(every[name], gradient)


def test_the_teacher_drops_the_share_of_clips_asked_for():
    objective, labels = _objective(teacher_drop=0.3), torch.zeros(5000)
    kept = objective.draw_kept(labels)
    assert kept.dtype == torch.bool
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.03)  # 4.6 deviations
    assert not torch.equal(objective.draw_kept(labels), kept)
    assert _objective().draw_kept(labels) is None


def test_nothing_flows_back_to_the_teacher(case):
    leaves = [case.teacher_logits, *case.targets.values()]
    for leaf in leaves:
        leaf.requires_grad_()
    case.ask(_objective())[0].backward()
    assert all(leaf.grad is None for leaf in leaves)


def test_without_projectors_only_logits_are_taught(case):
    objective = DistillObjective(DistillOptions(w_kd=0.7, w_feat=0.3, w_ce=0.2))
    loss, terms = case.ask(objective)
    assert set(terms) == {"kd", "ce"}
    assert objective.taught_levels == ()
    torch.testing.assert_close(loss, 0.7 * terms["kd"] + 0.2 * terms["ce"])


def test_levels_in_half_precision_are_compared_in_single(case):
    exact = {name: value.detach().bfloat16().float() for name, value in case.seen.items()}
    case.seen = {name: value.detach().bfloat16() for name, value in case.seen.items()}
    case.targets = {name: value.bfloat16() for name, value in case.targets.items()}
    _, terms = case.ask(_objective())
    for level in LEVELS:
        expected = feature_mse(exact[level], case.targets[level].float())
        torch.testing.assert_close(terms[f"feat_{level}"], expected, rtol=1e-6, atol=0)


def test_projectors_and_standardisers_are_the_only_state():
    assert not list(_objective().state_dict())
    objective = DistillObjective(
        DistillOptions(),
        projectors=Projectors(SHAPES, SHAPES, levels=("embedding",), kind="always"),
        num_levels=3,
        standardisers={"embedding": nn.BatchNorm1d(5, affine=False)},
    )
    assert {name.split(".")[0] for name in objective.state_dict()} == {
        "projectors",
        "standardisers",
    }
