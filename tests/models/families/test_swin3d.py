import pytest
import torch
from torchvision.models import video as library

from videokd.models.levels import compute_level_shapes
from videokd.models.plain import swin3d
from videokd.models.zoo import get_architecture


def test_full_size_logits_are_the_librarys_bit_for_bit():
    expected = library.swin3d_t(weights=None).eval()
    architecture = get_architecture("swin3d_t", num_frames=5, crop_size=34)
    plain = architecture.build_plain(num_classes=400)
    plain.load_state_dict(expected.state_dict(), strict=True)
    backbone = architecture.wrap(architecture.build_plain(num_classes=400)).eval()
    clips = torch.randn(2, 3, 5, 30, 50)
    with torch.no_grad():
        logits = plain.eval()(clips)
        assert torch.equal(logits, expected(clips))
        backbone.net.load_state_dict(plain.state_dict(), strict=False)
        assert torch.equal(plain.head(backbone(clips).embedding), logits)


@pytest.mark.nightly
def test_logits_of_shifted_windows_are_the_librarys_bit_for_bit():
    # Only a map larger than a window is shifted: 9 and more positions in time, 8 in space.
    expected = library.swin3d_s(weights=None).eval()
    plain = get_architecture("swin3d_s", num_frames=32, crop_size=112).build_plain(num_classes=400)
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(1, 3, 32, 112, 112)
    with torch.no_grad():
        assert torch.equal(plain.eval()(clips), expected(clips))


@pytest.mark.parametrize(
    ("clip", "levels"),
    [
        ((32, 224, 224), [(16, 56, 56), (16, 28, 28), (16, 14, 14), (16, 7, 7)]),
        # Padded: every halving rounds up.
        ((5, 30, 50), [(3, 8, 13), (3, 4, 7), (3, 2, 4), (3, 1, 2)]),
        ((1, 1, 1), [(1, 1, 1)] * 4),
    ],
)
@pytest.mark.parametrize(("name", "width"), [("swin3d_t", 96), ("swin3d_b", 128)])
def test_levels_have_the_shapes_worked_out_by_hand(name, width, clip, levels):
    with torch.device("meta"):
        backbone = get_architecture(name, num_frames=16, crop_size=224).build_backbone()
    shapes = compute_level_shapes(backbone, (3, *clip))
    assert [shape[1:] for shape in shapes.levels.values()] == levels
    channels = [shape[0] for shape in shapes.levels.values()]
    assert channels == [width, 2 * width, 4 * width, 8 * width]
    assert shapes.embedding_dim == 8 * width


def test_a_position_of_a_level_sees_its_own_part_of_the_clip(make_architecture):
    backbone = make_architecture("swin3d_t", num_frames=4, crop_size=64).build_backbone().eval()
    # Keep the mixing by attention out: what is left works position by position.
    for name, parameter in backbone.named_parameters():
        if ".attn.proj." in name:
            torch.nn.init.zeros_(parameter)
    clips = torch.zeros(1, 3, 4, 64, 64)
    clips[:, :, 2:, 40:44, 8:12] = 5.0  # of strides (2, 4, 4) the position (1, 10, 2)
    with torch.no_grad():
        changed = [
            (x - y).abs().sum(dim=(0, 1)).nonzero().tolist()
            for x, y in zip(
                backbone(clips).levels.values(),
                backbone(torch.zeros_like(clips)).levels.values(),
                strict=True,
            )
        ]
    assert changed == [[[1, 10, 2]], [[1, 5, 1]], [[1, 2, 0]], [[1, 1, 0]]]


@pytest.mark.parametrize(
    ("width", "num_heads"),
    [(8, 1), (40, 1), (72, 2), (96, 3), (104, 2), (128, 4), (192, 6)],
)
def test_heads_divide_any_width(width, num_heads):
    with torch.device("meta"):
        net = swin3d.build(num_classes=3, width=width, depths=(1, 1, 1, 1))
    heads = [net.features[i][0].attn.num_heads for i in (0, 2, 4, 6)]
    assert heads == [num_heads * 2**i for i in range(4)]
    assert width % num_heads == 0


@pytest.mark.parametrize("width", [16, 96])
def test_only_narrow_networks_are_widened_at_the_start(width):
    linear = swin3d.build(num_classes=3, width=width, depths=(1, 1, 1, 1)).features[0][0].attn.qkv
    std = width**-0.5 if width < 96 else 0.02
    assert linear.weight.std().item() == pytest.approx(std, rel=0.15)
