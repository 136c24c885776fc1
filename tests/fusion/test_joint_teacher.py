import copy

import pytest
import torch

from videokd.fusion.joint_teacher import JointTeacher, draw_expert_weights
from videokd.fusion.options import FINE_TUNES, OPERATORS, STANDARDISERS, FusionOptions
from videokd.models.levels import Features, LevelShapes
from videokd.utils.errors import InputError

NUM_CLASSES = {"a": 3, "b": 4}
ALL_LEVELS = ("stage1", "stage2", "stage3", "stage4")


@pytest.mark.parametrize("topology", OPERATORS)
@pytest.mark.parametrize(
    ("clip", "levels"),
    [
        ((4, 32), ()),
        ((4, 32), ALL_LEVELS),
        ((5, 33), ("stage1", "stage4")),
        ((5, 33), ALL_LEVELS),
        ((3, 45), ("stage3",)),
        ((3, 45), ALL_LEVELS),
    ],
)
def test_shapes_are_the_students_own_for_even_and_odd_clips(
    make_joint, make_classifier, topology, clip, levels
):
    student = make_classifier("r2plus1d_18")
    clips = {"clip": torch.rand(2, 3, clip[0], clip[1], clip[1])}
    joint = make_joint(levels=levels, clip=clip, topology=topology)
    features, expected = joint(clips), student(clips)
    assert tuple(features.levels) == levels
    for level in levels:
        assert features.levels[level].shape == expected.levels[level].shape
    assert features.embedding.shape == expected.embedding.shape


@pytest.mark.parametrize("topology", OPERATORS)
def test_experts_of_other_clips_are_brought_to_the_students_shapes(
    make_joint, make_classifier, topology
):
    sizes = {"a": (6, 24), "b": (4, 32), "c": (8, 40)}
    joint = make_joint("abc", expert_clips=sizes, levels=ALL_LEVELS, topology=topology).eval()
    clips = {name: torch.rand(2, 3, t, px, px) for name, (t, px) in sizes.items()}
    seen = joint.expert_features(clips)
    for name, expert in joint.experts.items():
        expected = expert(clips)
        assert torch.equal(seen[name].embedding, expected.embedding)
        for level, features in seen[name].levels.items():
            assert features.shape[1:] == joint.fusion.experts[name].levels[level]
    features = joint(clips)
    expected = make_classifier("r2plus1d_18")({"clip": torch.rand(2, 3, 4, 32, 32)})
    for level in ALL_LEVELS:
        assert features.levels[level].shape == expected.levels[level].shape
    # Every expert's clips count.
    for name in sizes:
        other = joint({**clips, name: torch.rand_like(clips[name])})
        assert not torch.equal(other.embedding, features.embedding)


@pytest.mark.parametrize("topology", OPERATORS)
@pytest.mark.parametrize("order", ["c", "abc"])
def test_any_number_of_experts_is_fused(make_joint, topology, order):
    joint = make_joint(tuple(order), topology=topology)
    features = joint({"clip": torch.rand(2, 3, 4, 32, 32)})
    assert list(joint.fusion.layers["stage2"].adaptors) == list(order)
    assert all(x.isfinite().all() for x in (*features.levels.values(), features.embedding))


def test_each_dataset_gets_logits_of_its_own_classes(make_joint):
    joint = make_joint()
    embedding = joint({"clip": torch.rand(2, 3, 4, 32, 32)}).embedding
    for name, num_classes in NUM_CLASSES.items():
        assert joint.classify(embedding, name).shape == (2, num_classes)


def _classify_all(joint, clips):
    embedding = joint(clips).embedding
    return torch.cat([joint.classify(embedding, name) for name in NUM_CLASSES], dim=1)


@pytest.mark.parametrize("topology", OPERATORS)
@pytest.mark.parametrize("standardise", STANDARDISERS)
@pytest.mark.parametrize("fine_tune", FINE_TUNES)
def test_logits_reach_every_trainable_parameter(make_joint, topology, standardise, fine_tune):
    joint = make_joint(topology=topology, standardise=standardise, fine_tune=fine_tune).train()
    logits = _classify_all(joint, {"clip": torch.rand(4, 3, 4, 32, 32)})
    (logits * torch.randn_like(logits)).sum().backward()
    trainable = {name: p for name, p in joint.named_parameters() if p.requires_grad}
    silent = [name for name, p in trainable.items() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert any(name.startswith("experts.") for name in trainable) == (fine_tune != "none")
    assert all(p.grad is None for p in joint.parameters() if not p.requires_grad)


@pytest.mark.parametrize("order", ["a", "b", "c"])
@pytest.mark.parametrize("levels", [(), ("stage1",), ("stage4",)])
def test_in_a_trunk_only_what_it_sees_of_the_experts_is_trained(make_joint, order, levels):
    for fine_tune in ("last_stage", "all"):
        joint = make_joint(order, levels=levels, topology="trunk", fine_tune=fine_tune).train()
        _classify_all(joint, {"clip": torch.rand(4, 3, 4, 32, 32)}).pow(2).sum().backward()
        for name, parameter in joint.experts.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name


def _step(joint, num_steps=3):
    # Weight decay would show in whatever the optimizer can get at.
    trained = [p for p in joint.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1, weight_decay=0.1)
    for _ in range(num_steps):
        joint.train()
        optimizer.zero_grad()
        _classify_all(joint, {"clip": torch.rand(4, 3, 4, 32, 32)}).logsumexp(
            dim=1
        ).sum().backward()
        optimizer.step()


def _list_changed(module, before):
    state = module.state_dict()
    assert list(state) == list(before)
    return {name for name, value in state.items() if not torch.equal(value, before[name])}


def test_frozen_experts_do_not_change_by_one_bit(make_joint):
    joint = make_joint(("a", "b", "c"))
    before = {name: copy.deepcopy(e.module.state_dict()) for name, e in joint.experts.items()}
    own = copy.deepcopy(joint.state_dict())
    _step(joint)
    for name, expert in joint.experts.items():
        assert _list_changed(expert.module, before[name]) == set()
        assert all(p.grad is None for p in expert.module.parameters())
    assert len(_list_changed(joint, own)) == len(own)


@pytest.mark.parametrize("fine_tune", ["last_stage", "all"])
def test_fine_tuning_changes_the_named_part_of_a_copy_and_nothing_else(make_joint, fine_tune):
    originals = {n: e.module for n, e in make_joint(("a", "b", "c")).experts.items()}
    before = {name: copy.deepcopy(model.state_dict()) for name, model in originals.items()}
    joint = make_joint(("a", "b", "c"), fine_tune=fine_tune)
    _step(joint)
    for name, expert in joint.experts.items():
        assert _list_changed(originals[name], before[name]) == set()
        parts = originals[name].backbone.parts()
        tuned = list(parts) if fine_tune == "all" else ["stage4", "embedding"]
        prefixes = tuple(f"backbone.net.{module}." for part in tuned for module in parts[part])
        inside = {key for key in before[name] if key.startswith(prefixes)}
        assert _list_changed(expert.module, before[name]) == inside


def test_frozen_experts_are_in_eval_mode_and_in_no_state_after_train(make_joint):
    joint = make_joint().train()
    for expert in joint.experts.values():
        assert not any(module.training for module in expert.module.modules())
    assert not any(name.startswith("experts") for name in joint.state_dict())
    own = sum(p.numel() for m in (joint.fusion, joint.heads) for p in m.parameters())
    assert sum(p.numel() for p in joint.parameters()) == own


def test_fine_tuned_experts_are_in_the_state(make_joint):
    joint, fresh = (make_joint(fine_tune="last_stage") for _ in range(2))
    _step(joint)
    fresh.load_state_dict(joint.state_dict())
    clips = {"clip": torch.rand(2, 3, 4, 32, 32)}
    assert torch.equal(fresh.eval()(clips).embedding, joint.eval()(clips).embedding)


def test_what_was_seen_can_be_kept_and_fused_later(make_joint):
    joint = make_joint(levels=("stage2", "stage4")).eval()
    clips = {"clip": torch.rand(3, 3, 4, 32, 32)}
    seen = joint.expert_features(clips)
    assert {name: list(f.levels) for name, f in seen.items()} == {
        name: ["stage2", "stage4"] for name in ("a", "b")
    }
    kept = {
        name: Features({k: x[:2].clone() for k, x in f.levels.items()}, f.embedding[:2].clone())
        for name, f in reversed(seen.items())
    }
    fused, expected = joint.fuse(kept), joint(clips)
    for level, value in expected.levels.items():
        torch.testing.assert_close(fused.levels[level], value[:2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fused.embedding, expected.embedding[:2], rtol=1e-4, atol=1e-5)


def test_a_trunk_sees_one_level(make_joint):
    joint = make_joint(levels=("stage2", "stage4"), topology="trunk")
    seen = joint.expert_features({"clip": torch.rand(2, 3, 4, 32, 32)})
    assert [list(features.levels) for features in seen.values()] == [["stage2"], ["stage2"]]


@pytest.mark.parametrize("topology", OPERATORS)
@pytest.mark.parametrize("standardise", STANDARDISERS)
def test_permuted_experts_permute_the_adaptors_slices_and_nothing_else(
    make_joint, randomise, topology, standardise
):
    options = {"topology": topology, "standardise": standardise}
    forward, backward = make_joint(("a", "b"), **options), make_joint(("b", "a"), **options)
    randomise(forward)
    concatenated = {"fusion.layers.embedding.linear.weight"} if topology == "pyramid" else set()
    backward.load_state_dict(
        {
            name: _swap_experts(value) if ".mix" in name or name in concatenated else value
            for name, value in forward.state_dict().items()
        }
    )
    clips = {"clip": torch.rand(2, 3, 4, 32, 32)}
    expected, features = forward.eval()(clips), backward.eval()(clips)
    for level, value in expected.levels.items():
        torch.testing.assert_close(features.levels[level], value, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.embedding, expected.embedding, rtol=1e-4, atol=1e-4)


def _swap_experts(value, width=6):
    """Swap the slices of the two experts in a value over their concatenation."""
    if value.ndim == 0:  # the number of batches that a norm has seen
        return value
    dim = min(value.ndim - 1, 1)
    first, second, rest = value.split([width, width, value.shape[dim] - 2 * width], dim)
    return torch.cat([second, first, rest], dim)


def test_a_dropped_expert_is_missing_at_every_level_of_its_clip(make_joint):
    joint = make_joint(expert_drop=0.5, standardise="none").train()
    for module in joint.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()  # batch statistics would tie the clips together
    seen = joint.expert_features({"clip": torch.rand(8, 3, 4, 32, 32)})
    torch.manual_seed(1)
    weights = draw_expert_weights(8, 2, probability=0.5, device=torch.device("cpu"))
    outputs = [_fuse(joint, seen)]
    for name in seen:
        other = Features({k: x + 1 for k, x in seen[name].levels.items()}, seen[name].embedding + 1)
        outputs.append(_fuse(joint, {**seen, name: other}))
    for i in range(2):
        assert 0 < (weights[:, i] > 0).sum() < 8
        for before, after in zip(outputs[0], outputs[i + 1], strict=True):
            changed = (before != after).flatten(1).any(dim=1)
            assert torch.equal(changed, weights[:, i] > 0)


def _fuse(joint, seen):
    torch.manual_seed(1)
    fused = joint.fuse(seen)
    return [*fused.levels.values(), fused.embedding]


def test_no_expert_is_dropped_in_evaluation(make_joint):
    joint, plain = make_joint(expert_drop=0.9), make_joint()
    plain.load_state_dict(joint.state_dict())
    clips = {"clip": torch.rand(2, 3, 4, 32, 32)}
    assert torch.equal(joint.eval()(clips).embedding, plain.eval()(clips).embedding)


def test_a_level_that_an_expert_or_the_student_lacks_is_refused_with_its_owner():
    shapes = {"stage1": (2, 1, 1, 1), "stage2": (2, 1, 1, 1)}
    both, one = LevelShapes(shapes, 2), LevelShapes({"stage1": (2, 1, 1, 1)}, 2)
    options = {"levels": ["stage1", "stage2"], "num_classes": {}, "width": 1, "dropout": 0.0}
    with pytest.raises(InputError, match="level 'stage2' is not one of b's: stage1"):
        JointTeacher({}, {"a": both, "b": one}, shapes=both, **options)
    with pytest.raises(InputError, match="level 'stage2' is not one of the student's: stage1"):
        JointTeacher({}, {"a": both}, shapes=one, **options)
    with pytest.raises(InputError, match="at least one expert, got none"):
        JointTeacher({}, {}, shapes=both, **options)


def test_a_trunks_experts_need_its_lowest_level_only(make_classifier):
    maps = {"stage1": (8, 4, 16, 16), "stage2": (16, 2, 8, 8)}
    joint = JointTeacher(
        {"a": make_classifier()},
        {"a": LevelShapes({"stage1": maps["stage1"]}, 64)},
        shapes=LevelShapes(maps, 64),
        levels=["stage1", "stage2"],
        num_classes={"a": 3},
        width=4,
        dropout=0.0,
        options=FusionOptions(topology="trunk"),
    )
    assert joint({"clip": torch.rand(2, 3, 4, 32, 32)}).levels["stage2"].shape == (2, 16, 2, 8, 8)


@pytest.mark.parametrize("levels", [("stage3", "stage2"), ("stage2", "stage2")])
def test_levels_out_of_order_or_twice_are_refused(make_joint, levels):
    with pytest.raises(InputError, match=r"once, from low to high, got \['stage"):
        make_joint(levels=levels)


def test_dropout_is_before_the_classifiers_in_training_only(make_joint):
    joint = make_joint(dropout=0.9)
    embedding = torch.ones(2, joint.heads["a"].in_features)
    joint.train()
    assert not torch.equal(joint.classify(embedding, "a"), joint.classify(embedding, "a"))
    joint.eval()
    assert torch.equal(joint.classify(embedding, "a"), joint.heads["a"](embedding))
