import torch

from videokd.config import default_config
from videokd.fusion.build import build_joint_teacher
from videokd.models.levels import compute_level_shapes


def _build(make_classifier, seed):
    cfg = default_config().JOINT
    cfg.LEVELS, cfg.WIDTH, cfg.DROPOUT = ["stage1", "stage3"], 6, 0.25
    torch.manual_seed(0)
    expert = make_classifier("mc3_18")
    shapes = compute_level_shapes(expert.backbone, (3, 4, 32, 32))
    return build_joint_teacher(
        cfg, {"a": expert}, {"a": shapes}, shapes=shapes, num_classes={"a": 3}, seed=seed
    )


def test_every_key_of_the_node_reaches_the_joint_teacher(make_classifier):
    joint = _build(make_classifier, seed=0)
    assert list(joint.fusion.layers) == ["stage1", "stage3", "embedding"]
    assert joint.fusion.layers["stage1"].adaptors["a"].conv.out_channels == 6
    assert joint.dropout.p == 0.25


def test_weights_depend_on_the_seed_only_and_leave_the_global_generator_alone(make_classifier):
    first = _build(make_classifier, seed=1).state_dict()
    state = torch.get_rng_state()
    again, other = (_build(make_classifier, seed=seed).state_dict() for seed in (1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["heads.a.weight"], other["heads.a.weight"])
