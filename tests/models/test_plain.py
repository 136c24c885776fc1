import pytest
import torch
from torch import nn
from torchvision.models import video as library

from videokd.models.plain import video_resnet
from videokd.models.plain.x3d import Swish
from videokd.models.zoo import get_architecture

# Importing pytorchvideo imports fvcore.nn, which scripts a function.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

RESNETS = ["r3d_18", "mc3_18", "r2plus1d_18"]


def _library_x3d_s():
    from pytorchvideo.models.hub.x3d import x3d_s

    net = x3d_s(pretrained=False)
    net.blocks[5].activation = None  # a softmax, in evaluation only
    return net


def _plain_with_weights_of(net, name, *, num_frames, crop_size):
    architecture = get_architecture(name, num_frames=num_frames, crop_size=crop_size)
    plain = architecture.build_plain(num_classes=400)
    plain.load_state_dict(net.state_dict(), strict=True)
    return plain.eval()


@pytest.mark.parametrize("name", [*RESNETS, "mvit_v2_s", "x3d_s"])
def test_a_full_size_network_has_the_librarys_parameters_under_their_names(name):
    with torch.device("meta"):
        expected = _library_x3d_s() if name == "x3d_s" else getattr(library, name)(weights=None)
        architecture = get_architecture(name, num_frames=16, crop_size=224)
        plain = architecture.build_plain(num_classes=400)
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    assert shapes == {key: value.shape for key, value in expected.state_dict().items()}
    assert sum(map(torch.numel, plain.parameters())) == sum(map(torch.numel, expected.parameters()))


@pytest.mark.parametrize("name", RESNETS)
def test_a_full_size_resnet_gives_the_librarys_logits_bit_for_bit(name):
    expected = getattr(library, name)(weights=None).eval()
    plain = _plain_with_weights_of(expected, name, num_frames=4, crop_size=24)
    clips = torch.randn(2, 3, 4, 24, 24)
    with torch.no_grad():
        assert torch.equal(plain(clips), expected(clips))


def test_a_full_size_x3d_gives_the_librarys_logits():
    expected = _library_x3d_s().eval()
    nn.init.normal_(expected.blocks[5].proj.weight)
    plain = _plain_with_weights_of(expected, "x3d_s", num_frames=13, crop_size=160)
    clips = torch.randn(1, 3, 13, 160, 160)
    with torch.no_grad():
        logits = plain(clips)
        # The library's pooling window covers the whole map, but sums it in another order.
        torch.testing.assert_close(logits, expected(clips), rtol=1e-5, atol=1e-5)
        expected.blocks[5].pool.pool = nn.AdaptiveAvgPool3d(1)
        assert torch.equal(logits, expected(clips))


# The library's backward, which torch.compile refuses for the same reason.
@pytest.mark.filterwarnings("ignore:'saved_variables' is deprecated")
def test_x3ds_swish_is_the_librarys_bit_for_bit():
    from pytorchvideo.layers.swish import Swish as LibrarysSwish

    found, slopes = [], torch.randn(1000)
    for activation in (Swish(), LibrarysSwish()):
        values = torch.linspace(-20, 20, 1000, requires_grad=True)
        output = activation(values)
        output.backward(slopes)
        found.append((output.detach(), values.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.nightly
def test_a_full_size_mvit_gives_the_librarys_logits_bit_for_bit():
    expected = library.mvit_v2_s(weights=None).eval()
    plain = _plain_with_weights_of(expected, "mvit_v2_s", num_frames=16, crop_size=224)
    clips = torch.randn(1, 3, 16, 224, 224)
    with torch.no_grad():
        assert torch.equal(plain(clips), expected(clips))


@pytest.mark.parametrize("name", RESNETS)
def test_a_narrow_resnet_has_the_module_names_of_the_full_one(name):
    with torch.device("meta"):
        narrow = video_resnet.build(arch=name, num_classes=3, width=8)
        full = getattr(library, name)(weights=None)
    assert list(narrow.state_dict()) == list(full.state_dict())
    assert narrow.fc.weight.shape == (3, 64)


@pytest.mark.parametrize("name", RESNETS)
def test_a_narrow_resnet_is_initialised_as_torchvision_does(name):
    narrow = video_resnet.build(arch=name, num_classes=100, width=16)
    for key, weight in narrow.named_parameters():
        if weight.ndim == 5:
            # Kaiming, fan out: std = sqrt(2 / (out_channels * kernel volume)).
            fan_out = weight.shape[0] * weight[0, 0].numel()
            assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.25), key
        elif weight.ndim == 1:
            assert weight.unique().tolist() == [float(key.endswith("weight"))], key
    assert narrow.fc.weight.std().item() == pytest.approx(0.01, rel=0.1)
