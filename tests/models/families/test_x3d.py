import pytest
import torch
from torch import nn

from videokd.models.levels import LEVEL_NAMES
from videokd.models.zoo import get_architecture, get_size

# Importing pytorchvideo imports fvcore.nn, which scripts a function.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

NAMES = ["x3d_xs", "x3d_s", "x3d_m", "x3d_l"]


def _library_net(name):
    from pytorchvideo.models.hub import x3d

    net = getattr(x3d, name)(pretrained=False).eval()
    net.blocks[5].activation = None  # a softmax, in evaluation only
    return net


@pytest.mark.parametrize("name", NAMES)
def test_the_full_size_network_has_the_librarys_parameters_under_their_names(name):
    size = get_size(name)
    clip = {"num_frames": size.model_input.num_frames, "crop_size": size.model_input.crop_size}
    with torch.device("meta"):
        expected = _library_net(name)
        plain = get_architecture(name, **clip).build_plain(num_classes=400)
    shapes = [(key, value.shape) for key, value in plain.state_dict().items()]
    assert shapes == [(key, value.shape) for key, value in expected.state_dict().items()]
    num_params = sum(map(torch.numel, plain.parameters()))
    assert num_params / 1e6 == pytest.approx(size.published.num_params, abs=0.005)


@pytest.mark.parametrize("name", ["x3d_m", "x3d_l"])
def test_a_full_size_network_gives_the_librarys_logits_bit_for_bit(name):
    expected = _library_net(name)
    # The library's window is as large as its own clip's map; test_plain.py compares it with ours.
    expected.blocks[5].pool.pool = nn.AdaptiveAvgPool3d(1)
    for module in expected.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.weight.data.uniform_(0.5, 1.0)  # some start at zero, and hide their branch
    plain = get_architecture(name, num_frames=4, crop_size=64).build_plain(num_classes=400).eval()
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad():
        logits = plain(clips)
        assert torch.equal(logits, expected(clips))
    assert (logits[0] - logits[1]).abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_levels_of_an_odd_clip_keep_its_frames(make_architecture, name):
    backbone = make_architecture(name).build_backbone().eval()
    with torch.no_grad():
        levels = backbone(torch.randn(1, 3, 5, 45, 45)).levels
    # 45 px are halved, rounded up, by the stem and by every stage: 23, 12, 6, 3, 2.
    grids = [tuple(levels[level].shape[2:]) for level in LEVEL_NAMES]
    assert grids == [(5, 12, 12), (5, 6, 6), (5, 3, 3), (5, 2, 2)]
