import pytest
import torch

from videokd.models.zoo import architecture_names, get_architecture
from videokd.utils.errors import InputError


def _arguments(name, **options):
    options = {"num_frames": 8, "crop_size": 64, **options}
    return get_architecture(name, **options).arguments


def test_all_names_are_known_and_an_unknown_one_is_refused_with_the_nearest():
    for name in architecture_names():
        assert get_architecture(name, num_frames=8, crop_size=64).name == name
    for name, near in (("r2plus1d_81", "r2plus1d_18"), ("slowfast50", "slowfast_r50")):
        message = rf"unknown ARCH '{name}'; did you mean {near}.*\? .*`videokd models` prints all"
        with pytest.raises(InputError, match=message):
            get_architecture(name, num_frames=8, crop_size=64)


@pytest.mark.parametrize(
    ("factor", "depths"),
    [(0.1, (1, 1, 2, 1)), (0.5, (1, 1, 6, 1)), (1.0, (1, 2, 11, 2)), (1.5, (2, 3, 17, 3))],
)
def test_depth_is_scaled_and_rounded_up(factor, depths):
    assert _arguments("mvit_v2_s", depth_factor=factor)["depths"] == depths


@pytest.mark.parametrize(("factor", "width"), [(0.01, 8), (0.125, 8), (0.3, 16), (1.0, 64)])
def test_width_is_rounded_to_multiples_of_8(factor, width):
    assert _arguments("r3d_18", width_factor=factor)["width"] == width


@pytest.mark.parametrize("clip", [{"num_frames": 5}, {"crop_size": 50}])
def test_mvit_refuses_clips_that_its_patches_do_not_divide(clip):
    with pytest.raises(InputError, match="even number of frames and a crop that is a multiple of"):
        _arguments("mvit_v2_s", **clip)


@pytest.mark.parametrize(
    "name", ["r3d_18", "mc3_18", "r2plus1d_18", "x3d_s", "mvit_v2_s", "mvit_v2_s_gap"]
)
def test_a_backbones_weights_come_back_bit_equal_through_the_plain_network(make_architecture, name):
    architecture = make_architecture(name)
    backbone = architecture.build_backbone().eval()
    plain = architecture.build_plain(num_classes=5).eval()
    head = plain.get_submodule(architecture.head_name)
    weights = {f"{architecture.head_name}.{key}": v for key, v in head.state_dict().items()}
    plain.load_state_dict({**backbone.net.state_dict(), **weights}, strict=True)
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain(clips), head(backbone(clips).embedding))


@pytest.mark.parametrize("name", ["r2plus1d_18", "x3d_s", "mvit_v2_s"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(make_architecture, name):
    def weights(seed):
        torch.manual_seed(seed)
        return make_architecture(name).build_backbone().state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_mean_pooled_mvit_has_the_parameters_of_mvit_and_the_mean_of_its_tokens(make_architecture):
    gap, plain = make_architecture("mvit_v2_s_gap"), make_architecture("mvit_v2_s")
    network = gap.build_plain(3).eval()
    assert network.state_dict().keys() == plain.build_plain(3).state_dict().keys()
    backbone = gap.build_backbone().eval()
    tokens = []
    backbone.net.norm.register_forward_hook(lambda *call: tokens.append(call[2]))
    size = gap.arguments["crop_size"]
    embedding = backbone(torch.randn(2, 3, gap.arguments["num_frames"], size, size)).embedding
    torch.testing.assert_close(embedding, tokens[0][:, 1:].mean(dim=1))
