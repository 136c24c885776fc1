import importlib

import pytest
import torch
from torch import nn

from videokd.models.levels import LEVEL_NAMES, compute_level_shapes
from videokd.models.zoo import get_architecture, get_size
from videokd.utils.errors import InputError

# Importing pytorchvideo imports fvcore.nn, which scripts a function.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

NAMES = ["c2d_r50", "i3d_r50", "slow_r50", "r2plus1d_r50", "csn_r101"]
# (C, T, H, W) at width 8 of a clip of 7 frames and 45 px: H and W are halved, rounded up, in the
# stem, before the first stage, and at the start of the others; what halves T differs.
ODD_SHAPES = {
    "c2d_r50": [(32, 7, 12, 12), (64, 3, 6, 6), (128, 3, 3, 3), (256, 3, 2, 2)],
    "i3d_r50": [(32, 7, 12, 12), (64, 3, 6, 6), (128, 3, 3, 3), (256, 3, 2, 2)],
    "slow_r50": [(32, 7, 12, 12), (64, 7, 6, 6), (128, 7, 3, 3), (256, 7, 2, 2)],
    "r2plus1d_r50": [(32, 7, 12, 12), (64, 7, 6, 6), (128, 4, 3, 3), (256, 2, 2, 2)],
    "csn_r101": [(32, 7, 12, 12), (64, 4, 6, 6), (128, 2, 3, 3), (256, 1, 2, 2)],
}


def _library_net(name):
    """The hub's own network, its dropout off and r2plus1d's softmax cut off."""
    modules = {"r2plus1d_r50": "r2plus1d", "csn_r101": "csn"}
    hub = importlib.import_module(f"pytorchvideo.models.hub.{modules.get(name, 'resnet')}")
    net = getattr(hub, name)(pretrained=False).eval()
    net.blocks[-1].activation = None
    return net


def _randomise_norms(net):
    # The last norm of every residual block starts at zero: nothing of its branch would be seen.
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.weight.data.uniform_(0.5, 1.0)
            module.bias.data.normal_(std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)


@pytest.mark.parametrize("name", NAMES)
def test_the_full_size_network_has_the_librarys_parameters_under_their_names(name):
    with torch.device("meta"):
        expected = _library_net(name)
        plain = get_architecture(name, num_frames=8, crop_size=224).build_plain(num_classes=400)
    shapes = [(key, value.shape) for key, value in plain.state_dict().items()]
    assert shapes == [(key, value.shape) for key, value in expected.state_dict().items()]
    num_params = sum(map(torch.numel, plain.parameters()))
    assert num_params == sum(map(torch.numel, expected.parameters()))
    assert num_params / 1e6 == pytest.approx(get_size(name).published.num_params, abs=0.005)


@pytest.mark.parametrize("name", NAMES)
def test_the_full_size_network_gives_the_librarys_logits(name):
    expected = _library_net(name)
    _randomise_norms(expected)
    architecture = get_architecture(name, num_frames=8, crop_size=32)
    plain = architecture.build_plain(num_classes=400).eval()
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(2, 3, 8, 64, 64)
    maps = []
    expected.blocks[-1].register_forward_pre_hook(lambda module, inputs: maps.append(inputs[0]))
    expected.blocks[-1].pool = nn.AdaptiveAvgPool3d(1)
    with torch.no_grad():
        logits = plain(clips)
        assert torch.equal(logits, expected(clips))
        # The library's window, which covers the whole map too, sums it in another order.
        expected.blocks[-1].pool = nn.AvgPool3d(tuple(maps[0].shape[2:]), stride=1)
        torch.testing.assert_close(logits, expected(clips), rtol=1e-5, atol=1e-5)
    assert (logits[0] - logits[1]).abs().max() > 1e-3


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_logits_of_the_published_clips_are_those_of_the_untouched_library(name):
    size = get_size(name).model_input
    expected = _library_net(name)
    _randomise_norms(expected)
    clip = {"num_frames": size.num_frames, "crop_size": size.crop_size}
    plain = get_architecture(name, **clip).build_plain(num_classes=400).eval()
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(1, 3, size.num_frames, size.crop_size, size.crop_size)
    with torch.no_grad():
        # The library's pooling window covers the whole map, but sums it in another order.
        torch.testing.assert_close(plain(clips), expected(clips), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_backbones_state_and_a_head_go_back_into_the_librarys_network(name):
    with torch.device("meta"):
        architecture = get_architecture(name, num_frames=8, crop_size=64)
        backbone = architecture.build_backbone()
        head = nn.Linear(backbone.embedding_dim, 400)
        expected = _library_net(name)
    weights = {f"{architecture.head_name}.{key}": v for key, v in head.state_dict().items()}
    state = {**backbone.net.state_dict(), **weights}
    expected.load_state_dict(state, strict=True, assign=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_narrow_backbone_gives_the_embedding_of_its_plain_networks_logits(
    make_architecture, name
):
    architecture = make_architecture(name)
    plain = architecture.build_plain(num_classes=5).eval()
    _randomise_norms(plain)
    clips = torch.randn(2, 3, 5, 45, 45)
    with torch.no_grad():
        logits = plain(clips)
        head = plain.get_submodule(architecture.head_name)
        backbone = architecture.wrap(plain)
        assert torch.equal(logits, head(backbone(clips).embedding))


@pytest.mark.parametrize("name", NAMES)
def test_levels_are_the_four_stages_of_an_odd_clip(make_architecture, name):
    backbone = make_architecture(name).build_backbone().eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 7, 45, 45))
    shapes = [tuple(features.levels[level].shape[1:]) for level in LEVEL_NAMES]
    assert shapes == ODD_SHAPES[name]
    torch.testing.assert_close(features.embedding, features.levels["stage4"].mean(dim=(2, 3, 4)))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(make_architecture, name):
    backbone = make_architecture(name).build_backbone()
    _randomise_norms(backbone)
    features = backbone(torch.randn(2, 3, 8, 48, 48))
    loss = features.embedding.pow(2).sum() + sum(x.pow(2).mean() for x in features.levels.values())
    loss.backward()
    assert [key for key, p in backbone.named_parameters() if not p.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
def test_parts_hold_every_parameter_and_buffer_once_in_order(make_architecture, name):
    backbone = make_architecture(name).build_backbone()
    held = [
        f"net.{module}.{key}"
        for modules in backbone.parts().values()
        for module in modules
        for key in backbone.net.get_submodule(module).state_dict()
    ]
    assert held == list(backbone.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_strides_are_plain_integers(make_architecture, name):
    for module in make_architecture(name).build_plain(num_classes=3).modules():
        if isinstance(module, nn.Conv3d):
            assert [type(s) for s in module.stride] == [int, int, int]


def test_depths_are_scaled_per_stage():
    def depths(name, factor):
        options = {"num_frames": 8, "crop_size": 64, "depth_factor": factor}
        return get_architecture(name, **options).arguments["depths"]

    assert depths("slow_r50", 0.5) == (2, 2, 3, 2)
    assert depths("csn_r101", 0.25) == (1, 1, 6, 1)


@pytest.mark.parametrize("name", ["c2d_r50", "i3d_r50"])
def test_a_single_frame_is_refused_where_time_is_pooled(make_architecture, name):
    backbone = make_architecture(name).build_backbone()
    with pytest.raises(InputError, match=r"does not accept clips of shape .* = \(3, 1, 32, 32\)"):
        compute_level_shapes(backbone, (3, 1, 32, 32))
