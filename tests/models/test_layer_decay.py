import pytest
from torch import nn

from videokd.models.frozen import Frozen
from videokd.models.layer_decay import depth_names, layer_lr_scales
from videokd.models.tuned import Tuned

# Depths of the small networks, from the stem up; what lies at one depth is joined by a blank.
DEPTHS = {
    "r3d_18": ["stem", "layer1", "layer2", "layer3", "layer4"],
    "x3d_s": [f"blocks.{i}" for i in range(6)],
    "mvit_v2_s": ["conv_proj pos_encoding", *(f"blocks.{i}" for i in range(7)), "norm"],
    # Merging of patches is a depth of its own.
    "swin3d_t": ["patch_embed", *(f"features.{i}" for i in range(7)), "norm"],
}


@pytest.mark.parametrize("name", DEPTHS)
def test_depths_run_from_the_stem_to_what_follows_the_levels(make_architecture, name):
    backbone = make_architecture(name).build_backbone()
    expected = [tuple(f"net.{part}" for part in parts.split()) for parts in DEPTHS[name]]
    assert depth_names(backbone) == expected


@pytest.mark.parametrize("name", DEPTHS)
def test_every_weight_has_the_factor_of_its_depth_and_the_classifier_has_1(make_classifier, name):
    task = nn.ModuleDict({"model": make_classifier(name), "projector": nn.Linear(2, 2)})
    scales = layer_lr_scales(task, 0.5, {})
    depths = DEPTHS[name]
    for parameter, _ in task.named_parameters():
        found = [
            scale for known, scale in scales.items() if f"{parameter}.".startswith(f"{known}.")
        ]
        expected = [
            0.5 ** (len(depths) - i)
            for i, parts in enumerate(depths)
            for part in parts.split()
            if parameter.startswith(f"model.backbone.net.{part}.")
        ]
        assert found == expected, parameter
        assert bool(found) == parameter.startswith("model.backbone.")


def test_with_a_decay_of_1_there_are_the_factors_given_alone(make_classifier):
    assert layer_lr_scales(make_classifier(), 1.0, {"heads": 3.0}) == {"heads": 3.0}


def test_a_network_that_is_only_looked_at_has_no_factors(make_classifier):
    task = nn.ModuleDict({"teacher": Frozen(make_classifier()), "student": make_classifier()})
    scales = layer_lr_scales(task, 0.5, {})
    assert {name.split(".")[0] for name in scales} == {"student"}


def test_of_an_expert_tuned_in_part_what_is_trained_counts_and_factors_multiply(make_classifier):
    tuned = Tuned(make_classifier("x3d_s"), "last_stage")
    task = nn.ModuleDict({"experts": nn.ModuleDict({"a": tuned})})
    scales = layer_lr_scales(task, 0.5, {"experts": 0.1})
    net = "experts.a.module.backbone.net"
    assert scales == {
        "experts": 0.1,
        f"{net}.blocks.5": pytest.approx(0.05),
        f"{net}.blocks.4": pytest.approx(0.025),
    }


def test_a_backbone_alone_has_factors_by_its_own_names(make_architecture):
    scales = layer_lr_scales(make_architecture("r3d_18").build_backbone(), 0.5, {})
    assert scales["net.layer4"] == 0.5
    assert scales["net.stem"] == 0.5**5
