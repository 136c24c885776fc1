import pytest
import torch
from torch import nn

from videokd.models.families.video_resnet import VideoResNetBackbone
from videokd.models.levels import LEVEL_NAMES, compute_level_shapes, tokens_to_grid
from videokd.utils.errors import InputError

FAMILIES = ["r3d_18", "mc3_18", "r2plus1d_18", "x3d_s", "mvit_v2_s"]
# Strides over (T, H, W) that the backbones' docstrings promise.
STRIDES = {
    "r3d_18": [(1, 2, 2), (2, 4, 4), (4, 8, 8), (8, 16, 16)],
    "r2plus1d_18": [(1, 2, 2), (2, 4, 4), (4, 8, 8), (8, 16, 16)],
    "mc3_18": [(1, 2, 2), (1, 4, 4), (1, 8, 8), (1, 16, 16)],
    "x3d_s": [(1, 4, 4), (1, 8, 8), (1, 16, 16), (1, 32, 32)],
    "mvit_v2_s": [(2, 4, 4), (2, 8, 8), (2, 16, 16), (2, 32, 32)],
}


# (T, crop): MViT takes even numbers of frames and multiples of 4 px only.
@pytest.mark.parametrize(
    ("name", "clip"),
    [
        *((name, clip) for name in FAMILIES for clip in [(4, 32), (6, 36)]),
        *((name, (1, 33)) for name in FAMILIES if name != "mvit_v2_s"),
        ("mvit_v2_s", (2, 28)),
    ],
)
def test_shapes_without_computing_are_the_shapes_of_a_real_forward(make_architecture, name, clip):
    num_frames, crop_size = clip
    architecture = make_architecture(name, num_frames=num_frames, crop_size=crop_size)
    backbone = architecture.build_backbone().eval()
    shapes = compute_level_shapes(backbone, (3, num_frames, crop_size, crop_size))
    with torch.no_grad():
        features = backbone(torch.rand(1, 3, num_frames, crop_size, crop_size))
    assert list(shapes.levels) == list(features.levels) == list(LEVEL_NAMES)
    for level, feature in features.levels.items():
        assert shapes.levels[level] == tuple(feature.shape[1:])
    assert shapes.embedding_dim == backbone.embedding_dim == features.embedding.shape[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_levels_have_the_documented_strides(make_architecture, name):
    backbone = make_architecture(name, num_frames=8, crop_size=64).build_backbone()
    shapes = compute_level_shapes(backbone, (3, 8, 64, 64))
    for level, (t, h, w) in zip(LEVEL_NAMES, STRIDES[name], strict=True):
        assert shapes.levels[level][1:] == (8 // t, 64 // h, 64 // w)


def test_computing_shapes_leaves_mode_weights_and_statistics_alone(make_architecture):
    backbone = make_architecture("r3d_18").build_backbone().train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    compute_level_shapes(backbone, (3, 4, 32, 32))
    assert backbone.training
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())


def test_a_clip_that_the_network_does_not_take_is_refused_with_its_shape(make_architecture):
    backbone = make_architecture("r3d_18").build_backbone()
    with pytest.raises(InputError, match=r"does not accept clips of shape .* = \(1, 4, 32, 32\)"):
        compute_level_shapes(backbone, (1, 4, 32, 32))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_gets_a_gradient_from_levels_and_embedding(make_architecture, name):
    backbone = make_architecture(name).build_backbone()
    for parameter in backbone.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))  # some start at exactly zero
    features = backbone(torch.randn(2, 3, 4, 32, 32))
    loss = features.embedding.pow(2).sum() + sum(x.pow(2).mean() for x in features.levels.values())
    loss.backward()
    silent = [
        key
        for key, parameter in backbone.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("level", LEVEL_NAMES)
def test_a_level_hangs_on_its_own_stage_and_those_below_only(make_architecture, name, level):
    backbone = make_architecture(name).build_backbone().eval()
    backbone(torch.randn(2, 3, 4, 32, 32)).levels[level].pow(2).sum().backward()
    reached = {
        _stage_of(name, key)
        for key, p in backbone.named_parameters()
        if p.grad is not None and p.grad.any()
    }
    assert max(reached) == LEVEL_NAMES.index(level) + 1
    assert reached == set(range(max(reached) + 1))


def _stage_of(name, key):
    """Return 0 for the stem, 1 to 4 for the stages, 5 for what follows."""
    part = key.removeprefix("net.").split(".")
    if name == "x3d_s":
        return int(part[1])
    if name == "mvit_v2_s" and part[0] == "blocks":
        return [1, 2, 3, 3, 3, 3, 4][int(part[1])]  # depths (1, 1, 4, 1) of make_architecture
    if part[0] == "norm":
        return 5
    return int(part[0].removeprefix("layer")) if part[0].startswith("layer") else 0


@pytest.mark.parametrize("name", [*FAMILIES, "mvit_v2_s_gap"])
def test_parts_hold_every_parameter_and_buffer_once_in_the_order_of_the_forward(
    make_architecture, name
):
    backbone = make_architecture(name).build_backbone()
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
def test_a_level_hangs_on_the_parts_up_to_its_own(make_architecture, name):
    backbone = make_architecture(name).build_backbone().eval()
    features = backbone(torch.randn(2, 3, 4, 32, 32))
    parts = list(backbone.parts().items())
    for i, level in enumerate(LEVEL_NAMES, start=1):
        features.levels[level].pow(2).sum().backward(retain_graph=True)
        for j, (_, modules) in enumerate(parts):
            parameters = [p for m in modules for p in backbone.net.get_submodule(m).parameters()]
            has_gradient = any(p.grad is not None and p.grad.any() for p in parameters)
            assert has_gradient == (j <= i and len(parameters) > 0)
        backbone.zero_grad()


def test_tokens_become_the_grid_that_an_explicit_loop_gives():
    batch, channels, (time, height, width) = 2, 3, (2, 3, 4)
    tokens = torch.randn(batch, 1 + time * height * width, channels)
    grid = tokens_to_grid(tokens, (time, height, width))
    assert grid.shape == (batch, channels, time, height, width)
    for t in range(time):
        for h in range(height):
            for w in range(width):
                place = 1 + (t * height + h) * width + w
                assert torch.equal(grid[:, :, t, h, w], tokens[:, place])


@pytest.mark.parametrize("head", [nn.Sequential(nn.Linear(2, 2)), nn.Conv3d(2, 2, (2, 1, 1))])
def test_a_head_that_is_not_linear_is_refused(head):
    net = nn.Module()
    net.fc = head
    with pytest.raises(
        TypeError, match="fc must be nn.Linear or .* one position, got (Seq|Conv3d)"
    ):
        VideoResNetBackbone(net)
