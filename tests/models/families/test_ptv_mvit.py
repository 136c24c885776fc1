import pytest
import torch
from torch import nn

from videokd.models.levels import LEVEL_NAMES, compute_level_shapes
from videokd.models.zoo import get_architecture, get_size
from videokd.utils.errors import InputError

# Importing pytorchvideo imports fvcore.nn, which scripts a function.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

HUB_NAMES = {"mvit_b_16x4": "mvit_base_16x4", "mvit_b_32x3": "mvit_base_32x3"}
NAMES = list(HUB_NAMES)


def _library_net(name, **options):
    """The hub's own network; its dropout acts in training only."""
    from pytorchvideo.models.hub import vision_transformers as hub

    return getattr(hub, HUB_NAMES[name])(pretrained=False, **options).eval()


def _randomise(net):
    for parameter in net.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("name", NAMES)
def test_the_full_size_network_has_the_librarys_parameters_under_their_names(name):
    size = get_size(name)
    clip = {"num_frames": size.model_input.num_frames, "crop_size": size.model_input.crop_size}
    expected = _library_net(name)
    plain = get_architecture(name, **clip).build_plain(num_classes=400)
    shapes = [(key, value.shape) for key, value in plain.state_dict().items()]
    assert shapes == [(key, value.shape) for key, value in expected.state_dict().items()]
    num_params = sum(map(torch.numel, plain.parameters()))
    assert num_params == sum(map(torch.numel, expected.parameters()))
    assert num_params / 1e6 == pytest.approx(size.published.num_params, abs=0.005)


@pytest.mark.parametrize("name", NAMES)
def test_the_full_width_network_gives_the_librarys_logits_bit_for_bit(name):
    expected = _library_net(name, temporal_size=6, spatial_size=36)
    _randomise(expected)
    plain = get_architecture(name, num_frames=6, crop_size=36).build_plain(num_classes=400).eval()
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(2, 3, 6, 36, 36)
    with torch.no_grad():
        logits = plain(clips)
        assert torch.equal(logits, expected(clips))
    assert (logits[0] - logits[1]).abs().max() > 1e-3


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_logits_of_the_published_clips_are_the_librarys_bit_for_bit(name):
    size = get_size(name).model_input
    clip = {"num_frames": size.num_frames, "crop_size": size.crop_size}
    expected = _library_net(name)
    plain = get_architecture(name, **clip).build_plain(num_classes=400).eval()
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(1, 3, size.num_frames, size.crop_size, size.crop_size)
    with torch.no_grad():
        assert torch.equal(plain(clips), expected(clips))


def test_the_backbones_state_and_a_head_go_back_into_the_librarys_network():
    architecture = get_architecture("mvit_b_16x4", num_frames=4, crop_size=32)
    backbone = architecture.build_backbone()
    head = nn.Linear(backbone.embedding_dim, 400)
    weights = {f"{architecture.head_name}.{key}": v for key, v in head.state_dict().items()}
    expected = _library_net("mvit_b_16x4", temporal_size=4, spatial_size=32)
    expected.load_state_dict({**backbone.net.state_dict(), **weights}, strict=True)


def test_a_narrow_backbone_gives_the_embedding_of_its_plain_networks_logits(make_architecture):
    architecture = make_architecture("mvit_b_16x4", num_frames=6, crop_size=36)
    plain = architecture.build_plain(num_classes=5).eval()
    _randomise(plain)
    clips = torch.randn(2, 3, 6, 36, 36)
    with torch.no_grad():
        logits = plain(clips)
        head = plain.get_submodule(architecture.head_name)
        backbone = architecture.wrap(plain)
        assert torch.equal(logits, head(backbone(clips).embedding))


def test_levels_are_the_grids_behind_the_four_stages(make_architecture):
    # Patches of 2 x 4 x 4, then H and W are halved, rounded up, at the start of each later stage;
    # 16 channels are doubled by the last block of each of the first three stages.
    backbone = make_architecture("mvit_b_16x4", num_frames=6, crop_size=36).build_backbone().eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 6, 36, 36))
    shapes = [tuple(features.levels[level].shape[1:]) for level in LEVEL_NAMES]
    assert shapes == [(32, 3, 9, 9), (64, 3, 5, 5), (128, 3, 3, 3), (128, 3, 2, 2)]
    assert features.embedding.shape == (1, 128)


def test_maps_hold_the_tokens_at_their_places_without_the_class_token(make_architecture):
    backbone = make_architecture("mvit_b_16x4").build_backbone().eval()
    tokens = []
    last = len(backbone.net.blocks) - 1
    backbone.net.blocks[last].register_forward_hook(lambda *call: tokens.append(call[2][0]))
    with torch.no_grad():
        level = backbone(torch.randn(2, 3, 4, 32, 32)).levels["stage4"]
    assert tokens[0].shape[1] == 1 + 2 * 1 * 1  # T=2, H=W=1, behind the class token
    assert torch.equal(level[:, :, 1, 0, 0], tokens[0][:, 2])


def test_every_parameter_gets_a_gradient(make_architecture):
    backbone = make_architecture("mvit_b_16x4").build_backbone()
    _randomise(backbone)
    features = backbone(torch.randn(2, 3, 4, 32, 32))
    loss = features.embedding.pow(2).sum() + sum(x.pow(2).mean() for x in features.levels.values())
    loss.backward()
    assert [key for key, p in backbone.named_parameters() if not p.grad.any()] == []


def test_parts_hold_every_parameter_once_in_order(make_architecture):
    backbone = make_architecture("mvit_b_16x4").build_backbone()
    held = [
        f"net.{module}.{key}"
        for modules in backbone.parts().values()
        for module in modules
        for key in backbone.net.get_submodule(module).state_dict()
    ]
    assert held == list(backbone.state_dict())


@pytest.mark.parametrize("clip", [{"num_frames": 5}, {"crop_size": 50}])
def test_clips_that_the_patches_do_not_divide_are_refused(clip):
    with pytest.raises(InputError, match="even number of frames and a crop that is a multiple of"):
        get_architecture("mvit_b_16x4", **{"num_frames": 8, "crop_size": 64, **clip})


def test_another_clip_than_it_was_built_for_is_refused(make_architecture):
    backbone = make_architecture("mvit_b_16x4").build_backbone()
    with pytest.raises(InputError, match=r"does not accept clips of shape .* = \(3, 4, 64, 64\)"):
        compute_level_shapes(backbone, (3, 4, 64, 64))
