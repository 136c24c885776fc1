import copy

import pytest
import torch
from torch import nn

from videokd.models.levels import LEVEL_NAMES
from videokd.models.tuned import Tuned
from videokd.utils.errors import InputError

FAMILIES = ["r3d_18", "x3d_s", "mvit_v2_s", "mvit_v2_s_gap"]
LAST_STAGE = {
    "r3d_18": ("layer4.",),
    "x3d_s": ("blocks.4.", "blocks.5."),
    "mvit_v2_s": ("blocks.6.", "norm."),  # depths (1, 1, 4, 1) of make_architecture
    "mvit_v2_s_gap": ("blocks.6.", "norm."),
}


def _train_on_top(tuned, num_steps=2):
    optimizer = torch.optim.SGD(tuned.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(num_steps):
        tuned.train()
        optimizer.zero_grad()
        tuned({"clip": torch.rand(4, 3, 4, 32, 32)}).embedding.pow(2).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("part", ["last_stage", "all"])
def test_training_changes_the_part_and_nothing_else(make_classifier, name, part):
    model = make_classifier(name)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))  # some start at exactly zero
    before = copy.deepcopy(model.state_dict())
    _train_on_top(Tuned(model, part))
    changed = {key for key, value in model.state_dict().items() if not value.equal(before[key])}
    parts = ("",) if part == "all" else LAST_STAGE[name]
    prefixes = tuple(f"backbone.net.{prefix}" for prefix in parts)
    assert changed == {key for key in before if key.startswith(prefixes)}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_rest_is_in_eval_mode_whatever_is_called(make_classifier, name):
    model = make_classifier(name)
    parent = nn.Sequential(Tuned(model, "last_stage"))
    for each_module in (False, True):
        if each_module:
            parent.apply(lambda module: module.train())
        else:
            parent.train()
        for key, module in model.backbone.net.named_modules():
            assert module.training == f"{key}.".startswith(LAST_STAGE[name]), key
        assert not any(module.training for module in (model.dropout, *model.heads.modules()))
    parent.eval()
    assert not any(module.training for module in parent.modules())


def test_a_network_that_was_frozen_before_can_be_tuned(make_classifier):
    model = make_classifier().eval().requires_grad_(False)
    Tuned(model, "all")
    assert all(p.requires_grad and p.is_leaf for p in model.backbone.parameters())
    assert not any(p.requires_grad for p in model.heads.parameters())
    assert all(norm.training for norm in model.modules() if isinstance(norm, nn.BatchNorm3d))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("top", LEVEL_NAMES)
def test_what_lies_above_the_highest_level_looked_at_is_not_trained(make_classifier, name, top):
    model = make_classifier(name)
    parts = model.backbone.parts()
    for part, tuned_parts in (
        ("all", list(parts)[: list(parts).index(top) + 1]),
        ("last_stage", [top]),
    ):
        Tuned(model, part, top=top)
        prefixes = tuple(f"{module}." for key in tuned_parts for module in parts[key])
        for key, parameter in model.backbone.net.named_parameters():
            assert parameter.requires_grad == key.startswith(prefixes), key


def test_results_are_the_models_own(make_classifier):
    model = make_classifier()
    tuned, clips = Tuned(model, "all").eval(), {"clip": torch.rand(2, 3, 4, 32, 32)}
    assert torch.equal(tuned(clips).embedding, model(clips).embedding)
    assert list(tuned.state_dict()) == [f"module.{key}" for key in model.state_dict()]


def test_an_unknown_part_is_refused(make_classifier):
    with pytest.raises(InputError, match="part must be one of last_stage, all, got 'head'"):
        Tuned(make_classifier(), "head")
