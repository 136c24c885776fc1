import pytest
import torch
from torch import nn
from torchvision.models import resnet, video

from videokd.models.classifier import VideoClassifier
from videokd.models.weights.image_resnet import rename_image_resnet
from videokd.models.weights.load import load_pretrained
from videokd.models.zoo import get_architecture

# Importing pytorchvideo imports fvcore.nn, which scripts a function.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


def _library_network(name):
    if name.endswith("18"):
        return getattr(video, name)(weights=None)
    from pytorchvideo.models import hub

    return getattr(hub, name)(pretrained=False)


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "c2d_r50", "i3d_r50", "slow_r50"])
def test_every_tensor_of_the_image_network_has_a_place_in_the_video_network(name):
    with torch.device("meta"):
        net = _library_network(name).state_dict()
        image_net = (resnet.resnet18 if name.endswith("18") else resnet.resnet50)(weights=None)
    family = "video_resnet" if name.endswith("18") else "ptv_resnet"
    renamed, whose = rename_image_resnet(image_net.state_dict(), family=family, architecture=name)
    assert whose == "an image ResNet's"
    assert renamed.keys() == net.keys()
    for key, value in renamed.items():
        wanted = list(net[key].shape)
        head = key.startswith(("fc.", "blocks.5.proj.", "blocks.6.proj."))
        if not head:
            flat = wanted[:2] + wanted[3:] if len(wanted) == 5 else wanted
            assert list(value.shape) == flat, key


@pytest.mark.parametrize(
    ("name", "family"),
    [("r2plus1d_18", "video_resnet"), ("csn_r101", "ptv_resnet"), ("x3d_s", "x3d")],
)
def test_networks_that_are_not_built_like_it_are_left_alone(name, family):
    with torch.device("meta"):
        state = resnet.resnet18(weights=None).state_dict()
    assert rename_image_resnet(state, family=family, architecture=name) is None


def test_a_video_network_is_no_image_network():
    with torch.device("meta"):
        state = video.r3d_18(weights=None).state_dict()
    assert rename_image_resnet(state, family="video_resnet", architecture="r3d_18") is None


def test_an_inflated_image_network_gives_its_features_on_a_clip_of_equal_frames(tmp_path):
    image_net = resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], num_classes=5).eval()
    for module in image_net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    architecture = get_architecture("r3d_18", num_frames=9, crop_size=32, depth_factor=0.5)
    with torch.random.fork_rng():
        model = VideoClassifier(architecture.build_backbone(), {"a": 5}).eval()
    torch.save(image_net.state_dict(), tmp_path / "a.pth")
    report = load_pretrained(model, architecture, str(tmp_path / "a.pth"))
    assert report.convention == "an image ResNet's"
    # The shortcuts of three layers are convolutions of one position in both.
    ways = [change.how for change in report.adapted]
    assert (ways.count("inflated"), ways.count("reshaped")) == (1 + 4 * 2, 3)

    frame = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = model({"clip": frame.unsqueeze(2).repeat(1, 1, 9, 1, 1)}).levels["stage1"]
        # The video network has no max pooling behind its stem.
        x = image_net.relu(image_net.bn1(image_net.conv1(frame)))
        expected = image_net.layer1(x)
    # Three convolutions along time see zeros beyond the first and the last frame.
    for each in found[:, :, 3:-3].unbind(2):
        torch.testing.assert_close(each, expected, rtol=1e-4, atol=1e-4)
