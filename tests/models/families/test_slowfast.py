import pytest
import torch
from torch import nn

from videokd.models.levels import compute_level_shapes
from videokd.models.zoo import get_architecture
from videokd.utils.errors import InputError

# Importing pytorchvideo imports fvcore.nn, which scripts a function.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

NAMES = ["slowfast_r50", "slowfast_r50_slow", "slowfast_r50_fast"]


def _library(name="slowfast_r50", **options):
    from pytorchvideo.models import hub

    return getattr(hub, name)(pretrained=False, **options).eval()


def _pool_globally(net):
    for i in range(2):
        net.blocks[5].pool[i] = nn.AdaptiveAvgPool3d(1)
    return net


def _pack(clips):
    """Return the library's input list, as its tutorial and PySlowFast make it."""
    num_frames = clips.shape[2]
    frames = torch.linspace(0, num_frames - 1, num_frames // 4).long()
    return [clips.index_select(2, frames), clips]


def _randomise_norms(net):
    # The library starts the last norm of every block at zero, which would hide its branch.
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
    return net


def _plain(state, num_classes, name="slowfast_r50", **options):
    options = {"num_frames": 8, "crop_size": 32, **options}
    plain = get_architecture(name, **options).build_plain(num_classes)
    plain.load_state_dict(state, strict=True)
    return plain.eval()


@pytest.mark.parametrize("name", ["slowfast_r50", "slowfast_r101"])
def test_a_full_size_network_has_the_librarys_parameters_under_their_names(name):
    with torch.device("meta"):
        expected = _library(name)
        plain = get_architecture(name, num_frames=32, crop_size=256).build_plain(400)
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    assert shapes == {key: value.shape for key, value in expected.state_dict().items()}
    assert sum(map(torch.numel, plain.parameters())) == sum(map(torch.numel, expected.parameters()))


def test_a_narrow_network_gives_the_librarys_logits():
    expected = _library(
        stem_dim_outs=(8, 1), model_num_class=5, head_pool_kernel_sizes=((2, 1, 1), (8, 1, 1))
    )
    nn.init.normal_(_randomise_norms(expected).blocks[6].proj.weight)
    plain = _plain(expected.state_dict(), 5, width_factor=0.125)
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        logits = plain(clips)
        # The library's windows cover the whole map, but sum its values in another order.
        torch.testing.assert_close(logits, expected(_pack(clips)), rtol=1e-5, atol=1e-5)
        assert torch.equal(logits, _pool_globally(expected)(_pack(clips)))


@pytest.mark.nightly
def test_a_full_size_network_gives_the_librarys_logits_at_its_own_clip_size():
    expected = _randomise_norms(_library())
    plain = _plain(expected.state_dict(), 400, num_frames=32, crop_size=224)
    clips = torch.randn(1, 3, 32, 224, 224)
    with torch.no_grad():
        logits = plain(clips)
        torch.testing.assert_close(logits, expected(_pack(clips)), rtol=1e-4, atol=1e-4)
        assert torch.equal(logits, _pool_globally(expected)(_pack(clips)))


def test_the_slow_path_sees_the_frames_that_the_library_picks(make_architecture):
    plain = make_architecture("slowfast_r50").build_plain(num_classes=2)
    for num_frames in range(4, 132, 4):
        clips = torch.arange(num_frames).float().view(1, 1, -1, 1, 1)
        slow, fast = plain.split(clips)
        assert torch.equal(slow, _pack(clips)[0])
        assert fast is clips


@pytest.mark.parametrize("name", NAMES)
def test_a_backbones_state_goes_back_into_the_librarys_class(make_architecture, name):
    backbone = make_architecture(name, num_frames=8).build_backbone().eval()
    state = _randomise_norms(backbone.net).state_dict()
    expected = _pool_globally(_library(stem_dim_outs=(8, 1), model_num_class=3))
    for i in range(1, 5):  # the tiny network has half the blocks
        for path in expected.blocks[i].multipathway_blocks:
            path.res_blocks = path.res_blocks[: (len(path.res_blocks) + 1) // 2]
    head = expected.blocks[6].proj
    weights = {f"blocks.6.proj.{key}": value for key, value in head.state_dict().items()}
    expected.load_state_dict({**state, **weights}, strict=True)
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        assert torch.equal(head(backbone(clips).embedding), expected(_pack(clips)))


@pytest.mark.parametrize(
    ("name", "num_frames", "channels"),
    [
        ("slowfast_r50", 3, (36, 72, 144, 288)),
        ("slowfast_r50_slow", 3, (32, 64, 128, 256)),
        ("slowfast_r50_fast", 12, (4, 8, 16, 32)),
    ],
)
def test_levels_have_the_shapes_of_their_paths(make_architecture, name, num_frames, channels):
    architecture = make_architecture(name, num_frames=12)
    shapes = compute_level_shapes(architecture.build_backbone(), (3, 12, 36, 52))
    sizes = [(9, 13), (5, 7), (3, 4), (2, 2)]  # 36 x 52 halved twice, and at each later stage
    assert list(shapes.levels) == ["stage1", "stage2", "stage3", "stage4"]
    for shape, width, (height, right) in zip(shapes.levels.values(), channels, sizes, strict=True):
        assert shape == (width, num_frames, height, right)
    assert shapes.embedding_dim == 288


def test_fused_levels_are_the_two_paths_behind_one_another(make_architecture):
    clips = torch.randn(2, 3, 8, 40, 32)
    backbones = [make_architecture(name, num_frames=8).build_backbone().eval() for name in NAMES]
    state = _randomise_norms(backbones[0]).state_dict()
    for other in backbones[1:]:
        other.load_state_dict(state)
    with torch.no_grad():
        fused, slow, fast = (backbone(clips) for backbone in backbones)
    for name, level in fused.levels.items():
        fast_mean = fast.levels[name].unflatten(2, (2, 4)).mean(dim=3)
        torch.testing.assert_close(level, torch.cat([slow.levels[name], fast_mean], dim=1))
    torch.testing.assert_close(fused.levels["stage4"].mean(dim=(2, 3, 4)), fused.embedding)
    assert torch.equal(slow.embedding, fused.embedding)
    assert torch.equal(fast.embedding, fused.embedding)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(make_architecture, name):
    backbone = _randomise_norms(make_architecture(name).build_backbone())
    backbone(torch.randn(2, 3, 4, 32, 32)).embedding.square().sum().backward()
    without = [key for key, p in backbone.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_every_parameter_and_buffer_is_in_one_part(make_architecture):
    backbone = make_architecture("slowfast_r50").build_backbone()
    prefixes = [f"{module}." for part in backbone.parts().values() for module in part]
    for key in backbone.net.state_dict():
        assert sum(key.startswith(prefix) for prefix in prefixes) == 1, key


def test_blocks_are_appended_beyond_the_networks_own_depth():
    options = {"num_frames": 4, "crop_size": 32, "width_factor": 0.125}
    architecture = get_architecture("slowfast_r50", depth_factor=1.5, **options)
    assert architecture.arguments["depths"] == (5, 6, 9, 5)
    stages = architecture.build_backbone().net.blocks[1:5]
    depths = [[len(path.res_blocks) for path in stage.multipathway_blocks] for stage in stages]
    assert depths == [[5, 5], [6, 6], [9, 9], [5, 5]]


def test_the_library_is_not_left_with_numbers_of_numpy(make_architecture):
    net = make_architecture("slowfast_r50").build_plain(num_classes=2)
    convs = [module for module in net.modules() if isinstance(module, nn.Conv3d)]
    assert all(type(step) is int for conv in convs for step in conv.stride)


def test_clips_that_the_slow_path_cannot_divide_are_refused(make_architecture):
    with pytest.raises(InputError, match="slowfast_r50 needs a multiple of 4 frames.*got NUM_FRA"):
        make_architecture("slowfast_r50", num_frames=6)
    backbone = make_architecture("slowfast_r50").build_backbone()
    with pytest.raises(InputError, match="SlowFast needs a multiple of 4 frames, got 6"):
        compute_level_shapes(backbone, (3, 6, 32, 32))
