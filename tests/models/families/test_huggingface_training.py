"""Training the families of Hugging Face's library: gradients, precision, memory layout, copies."""

import pickle
from copy import deepcopy

import pytest
import torch

from videokd.models.levels import LEVEL_NAMES

pytest.importorskip("transformers")

TINY = ["timesformer_b", "videomae_b", "vivit_b", "vjepa2_l"]


def _relative_error(value, expected):
    return ((value - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", TINY)
def test_gradients_reach_every_parameter_that_the_classifier_uses(make_architecture, name):
    backbone = make_architecture(name).build_backbone()
    for parameter in backbone.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))  # some start at exactly zero
    features = backbone(torch.randn(2, 3, 4, 32, 32))
    loss = features.embedding.pow(2).sum() + sum(x.pow(2).mean() for x in features.levels.values())
    loss.backward()
    silent = [
        key
        for key, parameter in backbone.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
        # A key's bias adds the same to all scores of a query: the softmax does not see it.
        if not key.endswith("k_proj.bias")
    ]
    assert [key for key in silent if not key.startswith("net.vjepa2.predictor.")] == []
    for key, parameter in backbone.named_parameters():
        assert parameter.requires_grad != key.startswith("net.vjepa2.predictor.")


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(
    ("options", "tolerance"), [({"memory_format": "channels_last_3d"}, 1e-5), ({}, 0.05)]
)
def test_layout_and_bf16_are_close_to_float32(make_classifier, name, options, tolerance):
    plain = make_classifier(name).eval()
    other = make_classifier(name, precision="float32" if options else "bf16", **options).eval()
    other.load_state_dict(plain.state_dict())
    clips = {"clip": torch.rand(2, 3, 4, 32, 32)}
    with torch.no_grad():
        expected, features = plain(clips), other(clips)
    for level in LEVEL_NAMES:
        assert _relative_error(features.levels[level], expected.levels[level]) < tolerance
    assert _relative_error(features.embedding, expected.embedding) < tolerance


def test_2d_convolutions_get_the_layout_of_two_dimensions(make_classifier):
    # TimeSformer cuts its patches frame by frame.
    model = make_classifier("timesformer_b", memory_format="channels_last_3d")
    weight = model.backbone.net.timesformer.embeddings.patch_embeddings.projection.weight
    assert weight.ndim == 4
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", TINY)
def test_a_step_in_bf16_leaves_a_gradient_on_all_that_is_trained(make_classifier, name):
    model = make_classifier(name, precision="bf16", memory_format="channels_last_3d").train()
    features = model({"clip": torch.rand(2, 3, 4, 32, 32)})
    loss = model.classify(features.embedding, "a").pow(2).sum()
    (loss + sum(x.float().pow(2).mean() for x in features.levels.values())).backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
        assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("copy", [deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_give_the_same_features(make_architecture, name, copy):
    backbone = make_architecture(name).build_backbone().eval()
    clips = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(copy(backbone)(clips).embedding, backbone(clips).embedding)
