import pytest
import torch

from videokd.config import default_config
from videokd.config.keys import KEYS
from videokd.config.schema import set_value
from videokd.config.training_keys import LEVELS
from videokd.distill.build import (
    build_cache,
    build_mixing,
    build_objective,
    check_losses,
    resolve_losses,
)
from videokd.distill.losses import (
    FEATURE_LOSSES,
    decoupled_kd,
    dist_loss,
    smooth_l1_cosine,
    soft_cross_entropy,
    standardise_logits,
)
from videokd.fusion.standardise import PhiStandardiser, RunningStandardiser
from videokd.models.levels import LevelShapes
from videokd.utils.errors import InputError

SHAPES = LevelShapes({"stage1": (4, 2, 3, 3), "stage2": (6, 1, 2, 2), "stage3": (8, 1, 1, 1)}, 5)
WIDER = LevelShapes({"stage1": (3, 2, 3, 3), "stage2": (7, 1, 2, 2), "stage3": (9, 1, 1, 1)}, 6)
LOGIT_LOSSES = {
    "kd": lambda mine, theirs, labels: soft_cross_entropy(mine, theirs, temperature=3.0),
    "dkd": lambda mine, theirs, labels: decoupled_kd(
        mine, theirs, labels, temperature=3.0, alpha=0.5, beta=4.0
    ),
    "dist": lambda mine, theirs, labels: dist_loss(
        mine, theirs, temperature=3.0, beta=0.25, gamma=1.5
    ),
}


@pytest.fixture
def cfg():
    return default_config().DISTILL


def _build(cfg, *, teacher=WIDER, seed=0):
    return build_objective(cfg, student=SHAPES, teacher=teacher, seed=seed)


def test_the_defaults_are_the_published_recipe(cfg):
    objective = _build(cfg, teacher=SHAPES)
    options = objective.options
    assert (options.w_kd, options.w_feat, options.w_ce) == (0.6, 0.2, 0.2)
    mine, theirs = torch.randn(2, 4, 5)
    expected = soft_cross_entropy(mine, theirs, temperature=2.0)
    assert torch.equal(options.logit_loss(mine, theirs, torch.zeros(4)), expected)
    assert objective.taught_levels == ("stage1", "stage2", "stage3", "embedding")
    assert not objective.state_dict()


@pytest.mark.parametrize("is_standardised", [False, True])
@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("kd", {}),
        ("dkd", {"ALPHA": 0.5, "BETA": 4.0}),
        ("dist", {"BETA": 0.25, "GAMMA": 1.5}),
    ],
)
def test_every_logit_loss_gets_its_options(cfg, name, node, is_standardised):
    cfg.LOGIT_LOSS.update({"NAME": name, **node})
    cfg.STANDARDISE_LOGITS, cfg.TEMPERATURE = is_standardised, 3.0
    mine, theirs, labels = *torch.randn(2, 4, 5), torch.tensor([0, 4, 2, 2])
    found = _build(cfg, teacher=None).options.logit_loss(mine, theirs, labels)
    if is_standardised:
        mine, theirs = standardise_logits(mine), standardise_logits(theirs)
    torch.testing.assert_close(found, LOGIT_LOSSES[name](mine, theirs, labels))


@pytest.mark.parametrize("name", FEATURE_LOSSES)
def test_every_feature_loss_is_known(cfg, name):
    cfg.FEATURE_LOSS.NAME = name
    student, teacher = torch.randn(2, 4, 5)
    expected = FEATURE_LOSSES[name].function(student, teacher)
    losses = _build(cfg).options.level_losses
    assert set(losses) == {*LEVELS}
    assert all(torch.equal(loss(student, teacher), expected) for loss in losses.values())


def test_a_level_may_have_a_loss_of_its_own(cfg):
    cfg.FEATURE_LOSS.NAME = "attention"
    cfg.FEATURE_LOSS_AT.stage2.update({"NAME": "smooth_l1_cosine", "WEIGHT": 0.25})
    losses = resolve_losses(cfg)
    assert losses["stage1"] == {"name": "attention"}
    assert losses["stage2"] == {"name": "smooth_l1_cosine", "weight": 0.25, "beta": 1.0}
    student, teacher = torch.randn(2, 4, 5)
    found = _build(cfg).options.level_losses["stage2"](student, teacher)
    assert torch.equal(found, smooth_l1_cosine(student, teacher, weight=0.25))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"LOGIT_LOSS.NAME": "kl"}, "LOGIT_LOSS.NAME must be one of kd, dkd, dist; got 'kl'"),
        ({"FEATURE_LOSS.NAME": "l1"}, "FEATURE_LOSS.NAME must be one of mse, .*; got 'l1'"),
        (
            {"FEATURE_LOSS_AT.stage4.NAME": "mse", "FEATURE_LOSS_AT.stage4.BETA": 1.0},
            "FEATURE_LOSS_AT.stage4.BETA is not an option of mse, whose options are: none; remove",
        ),
        (
            {"FEATURE_LOSS_AT.stage4.BETA": 1.0},
            "stage4 has options without a NAME of its own; add the NAME",
        ),
        ({"LOGIT_LOSS.NAME": "dkd", "CLIPS": "all"}, "dkd needs a label of the student's dataset"),
        (
            {"FEATURE_LOSS_AT.stage2.NAME": "similarity", "TEACHER_DROP": 0.5},
            "TEACHER_DROP needs losses per clip, similarity compares clips; set it to 0, or",
        ),
        ({"LOGIT_LOSS.NAME": "dist", "TEACHER_DROP": 0.5}, "dist compares clips"),
    ],
)
def test_losses_that_do_not_suit_are_refused(values, message):
    cfg = default_config()
    check_losses(cfg)
    for key, value in values.items():
        set_value(cfg.DISTILL, key, value)
    with pytest.raises(InputError, match=message):
        check_losses(cfg)


def test_mixed_clips_have_no_label_for_a_loss_that_needs_one():
    cfg = default_config()
    cfg.DISTILL.LOGIT_LOSS.NAME, cfg.MIXUP.CUTMIX_ALPHA = "dkd", 0.2
    with pytest.raises(InputError, match="dkd needs clips of one class each; set MIXUP.ALPHA"):
        check_losses(cfg)


def test_weights_and_schedules_reach_the_options(cfg):
    cfg.W_KD, cfg.W_FEAT, cfg.W_CE = 0.1, 0.2, 0.3
    cfg.LEVEL_WEIGHTS.stage2, cfg.LEVEL_SCHEDULES.embedding = 4.0, "falling"
    cfg.TEACHER_DROP = 0.25
    options = _build(cfg).options
    assert (options.w_kd, options.w_feat, options.w_ce) == (0.1, 0.2, 0.3)
    assert (options.weight("stage2"), options.weight("stage1")) == (4.0, 1.0)
    assert options.level_schedules["embedding"] == "falling"
    assert options.teacher_drop == 0.25


def test_levels_of_weight_0_are_not_compared_but_counted(cfg):
    cfg.LEVEL_WEIGHTS.stage1 = cfg.LEVEL_WEIGHTS.embedding = 0.0
    objective = _build(cfg)
    assert objective.taught_levels == ("stage2", "stage3")
    assert objective.num_levels == 4
    cfg.W_FEAT = 0.0
    assert _build(cfg).taught_levels == ()


def test_a_teacher_without_levels_teaches_logits_only(cfg):
    objective = _build(cfg, teacher=None)
    assert objective.projectors is None
    assert _build(cfg, teacher=LevelShapes({}, 5)).taught_levels == ("embedding",)


@pytest.mark.parametrize("removed", ["stage1", "stage2", "stage3", "embedding"])
def test_a_projector_begins_the_same_whichever_others_there_are(cfg, removed):
    cfg.PROJECTOR = "always"
    whole = _build(cfg, seed=3).state_dict()
    cfg.LEVEL_WEIGHTS[removed] = 0.0
    rest = _build(cfg, seed=3).state_dict()
    gone = {name for name in whole if name.split(".")[2] == removed}
    assert len(gone) == 2
    assert set(rest) == set(whole) - gone
    assert all(torch.equal(value, whole[name]) for name, value in rest.items())


def test_projectors_depend_on_the_seed_only_and_leave_the_global_generator_alone(cfg):
    state = torch.get_rng_state()
    first, again, other = (_build(cfg, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("name", "kind"), [("running", RunningStandardiser), ("phi_s", PhiStandardiser)]
)
def test_standardisers_stand_at_the_taught_levels_with_the_teachers_channels(cfg, name, kind):
    cfg.STANDARDISE, cfg.LEVEL_WEIGHTS.stage2 = name, 0.0
    found = _build(cfg).standardisers
    assert {level: type(module) for level, module in found.items()} == dict.fromkeys(
        ("stage1", "stage3", "embedding"), kind
    )
    widths = {level: len(module.mean) for level, module in found.items()}
    assert widths == {"stage1": 3, "stage3": 9, "embedding": 6}
    assert set(KEYS["DISTILL.STANDARDISE"].choices) == {"none", "running", "phi_s"}


def test_the_mixing_and_the_cache_get_their_keys(cfg):
    node = default_config().MIXUP
    node.ALPHA, node.CUTMIX_ALPHA = 0.2, 0.7
    mixing = build_mixing(node)
    assert (mixing.mixup_alpha, mixing.cutmix_alpha) == (0.2, 0.7)
    assert build_cache(cfg) is None
    cfg.CACHE_GIB = 100 / 2**30
    cache = build_cache(cfg)
    # 100 bytes are 25 floats: one view of 20 fits, the second does not.
    for record_id in (0, 0, 1, 1):
        cache([(0, record_id, 0)], lambda: {"x": torch.zeros(1, 20)})
    assert cache.num_computed == 3
