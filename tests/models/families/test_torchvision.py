"""What s3d, mvit_v1_b and swin3d have in common, and the published figures of all of torchvision.

The other torchvision networks are in tests/models/test_plain.py and test_levels.py.
"""

import re

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import video as library

from videokd.models.levels import LEVEL_NAMES, compute_level_shapes
from videokd.models.zoo import architecture_names, get_architecture, get_size

FAMILIES = ["s3d", "mvit_v1_b", "swin3d_t"]
SIZES = ["s3d", "mvit_v1_b", "swin3d_t", "swin3d_s", "swin3d_b"]
PUBLISHED = [
    (name, weights.removeprefix("torchvision:"))
    for name in architecture_names()
    for weights in get_size(name).weights
    if weights.startswith("torchvision:")
]
# S3D was trained on shorter clips than its accuracy is stated for (pytorch/vision pull 6537).
TRAINED_ON_FRAMES = {"s3d": 64}


@pytest.fixture
def make_backbone(make_architecture):
    """``make_backbone(name)``: small, for clips of 8 x 32 x 32, which S3D takes too."""
    return lambda name: make_architecture(name, num_frames=8, crop_size=32).build_backbone()


@pytest.fixture
def full_size():
    """``full_size(name)``: architecture at 16 x 224; builds nothing."""
    return lambda name: get_architecture(name, num_frames=16, crop_size=224)


@pytest.mark.parametrize("name", SIZES)
def test_a_full_size_network_has_the_librarys_parameters_under_their_names(full_size, name):
    with torch.device("meta"):
        expected = getattr(library, name)(weights=None)
        plain = full_size(name).build_plain(num_classes=400)
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    assert shapes == {key: value.shape for key, value in expected.state_dict().items()}
    assert list(shapes) == list(expected.state_dict())


@pytest.mark.parametrize("name", SIZES)
def test_a_backbone_and_a_classifier_go_back_into_the_librarys_network(full_size, name):
    with torch.device("meta"):
        expected = getattr(library, name)(weights=None)
        backbone = full_size(name).build_backbone()
        head = backbone.head_state(nn.Linear(backbone.embedding_dim, 400).state_dict())
        expected.load_state_dict({**backbone.net.state_dict(), **head}, strict=True)


@pytest.mark.parametrize(("name", "weights"), PUBLISHED)
def test_the_input_is_that_of_the_librarys_weights(name, weights):
    entry = _weights_of(weights)
    transforms, docs = entry.transforms(), entry.meta["_docs"]
    model_input = get_size(name).model_input
    frame_rate = float(re.search(r"frame_rate=([\d.]+)", docs)[1])
    clip_len = int(re.search(r"clip_len=(\d+)", docs)[1])
    assert model_input.num_frames == TRAINED_ON_FRAMES.get(name, clip_len)
    # The recipes resample videos of 30 frames per second.
    assert model_input.sampling_rate == 30 / frame_rate
    assert transforms.crop_size == [model_input.crop_size] * 2
    assert (tuple(transforms.mean), tuple(transforms.std)) == (model_input.mean, model_input.std)
    assert model_input.channels == "rgb"


@pytest.mark.parametrize(("name", "weights"), PUBLISHED)
def test_published_figures_are_the_librarys_and_ours(full_size, name, weights):
    meta = _weights_of(weights).meta
    size = get_size(name)
    published = size.published
    assert published.num_params == pytest.approx(meta["num_params"] / 1e6, abs=0.005)
    assert published.gflops == pytest.approx(meta["_ops"], abs=0.005)
    clip = (published.num_frames or size.model_input.num_frames, size.model_input.crop_size)
    with torch.device("meta"):
        net = get_architecture(name, num_frames=clip[0], crop_size=clip[1]).build_plain(400).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, clip[0], clip[1], clip[1]))
    assert sum(map(torch.numel, net.parameters())) == meta["num_params"]
    # The counter counts a multiply-add as two.
    assert counter.get_total_flops() / 2e9 == pytest.approx(published.gflops, abs=0.005)


def _weights_of(name):
    kind, entry = name.split(".")
    return getattr(library, kind)[entry]


@pytest.mark.parametrize("name", FAMILIES)
def test_levels_of_a_small_network_have_the_shapes_that_are_computed(make_backbone, name):
    backbone = make_backbone(name).eval()
    shapes = compute_level_shapes(backbone, (3, 8, 32, 32))
    with torch.no_grad():
        features = backbone(torch.rand(2, 3, 8, 32, 32))
    assert list(shapes.levels) == list(features.levels) == list(LEVEL_NAMES)
    for level, feature in features.levels.items():
        assert (2, *shapes.levels[level]) == tuple(feature.shape)
    assert features.embedding.shape == (2, backbone.embedding_dim)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_gets_a_gradient_from_levels_and_embedding(make_backbone, name):
    backbone = make_backbone(name)
    for parameter in backbone.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))  # some start at exactly zero
    features = backbone(torch.randn(2, 3, 8, 32, 32))
    loss = features.embedding.pow(2).sum() + sum(x.pow(2).mean() for x in features.levels.values())
    loss.backward()
    gradients = {key: parameter.grad for key, parameter in backbone.named_parameters()}
    assert [key for key, grad in gradients.items() if grad is None or not grad.any()] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_parts_hold_every_parameter_and_buffer_once_in_the_order_of_the_forward(
    make_backbone, name
):
    backbone = make_backbone(name)
    parts = backbone.parts()
    assert list(parts) == ["stem", *LEVEL_NAMES, "embedding"]
    held = [
        f"net.{module}.{key}"
        for modules in parts.values()
        for module in modules
        for key in backbone.net.get_submodule(module).state_dict()
    ]
    assert held == list(backbone.state_dict())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_level_hangs_on_the_parts_up_to_its_own(make_backbone, name):
    backbone = make_backbone(name).eval()
    features = backbone(torch.randn(2, 3, 8, 32, 32))
    parts = list(backbone.parts().items())
    for i, level in enumerate(LEVEL_NAMES, start=1):
        features.levels[level].pow(2).sum().backward(retain_graph=True)
        for j, (_, modules) in enumerate(parts):
            parameters = [p for m in modules for p in backbone.net.get_submodule(m).parameters()]
            has_gradient = any(p.grad is not None and p.grad.any() for p in parameters)
            assert has_gradient == (j <= i and len(parameters) > 0)
        backbone.zero_grad()


@pytest.mark.parametrize("name", FAMILIES)
def test_width_and_depth_factors_make_a_network_smaller(name):
    def count(**factors):
        with torch.device("meta"):
            net = get_architecture(name, num_frames=8, crop_size=32, **factors).build_plain(3)
        return sum(map(torch.numel, net.parameters()))

    assert count(width_factor=0.5) < 0.3 * count()
    assert count(depth_factor=0.5) < 0.8 * count()
