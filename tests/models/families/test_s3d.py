import pytest
import torch
from torch import nn
from torchvision.models import video as library

from videokd.models.levels import compute_level_shapes
from videokd.models.plain.s3d import ClippedAvgPool3d
from videokd.models.zoo import get_architecture
from videokd.utils.errors import InputError


@pytest.fixture
def backbone_at_full_size():
    with torch.device("meta"):
        return get_architecture("s3d", num_frames=16, crop_size=224).build_backbone()


def test_full_size_logits_are_the_librarys_bit_for_bit():
    expected = library.s3d(weights=None).eval()
    plain = get_architecture("s3d", num_frames=14, crop_size=224).build_plain(num_classes=400)
    plain.load_state_dict(expected.state_dict(), strict=True)
    clips = torch.randn(1, 3, 14, 224, 224)  # the shortest and smallest that the library takes
    with torch.no_grad():
        assert torch.equal(plain.eval()(clips), expected(clips))


@pytest.mark.parametrize("map_size", [(2, 7, 7), (5, 7, 9), (16, 12, 8)])
def test_pooling_of_a_map_that_the_library_takes_is_the_librarys(map_size):
    expected = library.S3D(num_classes=1).avgpool
    x = torch.randn(2, 4, *map_size)
    pool = ClippedAvgPool3d(expected.kernel_size, stride=1)
    assert torch.equal(pool(x), expected(x))


@pytest.mark.parametrize("map_size", [(1, 1, 1), (2, 3, 4), (1, 7, 7)])
def test_pooling_of_a_smaller_map_is_its_mean(map_size):
    x = torch.randn(2, 4, *map_size)
    pooled = ClippedAvgPool3d((2, 7, 7), stride=1)(x)
    torch.testing.assert_close(pooled[:, :, 0, 0, 0], x.mean(dim=(2, 3, 4)))
    assert pooled.shape == (2, 4, 1, 1, 1)


@pytest.mark.parametrize(
    ("clip", "levels"),
    [
        ((16, 224, 224), [(8, 56, 56), (8, 28, 28), (4, 14, 14), (2, 7, 7)]),
        # Halves are rounded up, but down after the third stage.
        ((7, 33, 50), [(4, 9, 13), (4, 5, 7), (2, 3, 4), (1, 1, 2)]),
        ((5, 17, 17), [(3, 5, 5), (3, 3, 3), (2, 2, 2), (1, 1, 1)]),
    ],
)
def test_levels_have_the_shapes_worked_out_by_hand(backbone_at_full_size, clip, levels):
    shapes = compute_level_shapes(backbone_at_full_size, (3, *clip))
    assert [shape[1:] for shape in shapes.levels.values()] == levels
    assert tuple(shape[0] for shape in shapes.levels.values()) == (192, 480, 832, 1024)
    assert shapes.embedding_dim == 1024


@pytest.mark.parametrize("clip", [(8, 32, 32), (33, 32, 32), (16, 256, 288)])
def test_a_linear_classifier_of_the_embedding_gives_the_networks_logits(make_architecture, clip):
    architecture = make_architecture("s3d", num_frames=8)
    backbone = architecture.build_backbone().eval()
    classifier = nn.Linear(backbone.embedding_dim, 5)
    plain = architecture.build_plain(num_classes=5).eval()
    plain.load_state_dict(
        {**backbone.net.state_dict(), **backbone.head_state(classifier.state_dict())}
    )
    clips = torch.randn(2, 3, *clip)
    with torch.no_grad():
        # The network's classifier is a convolution, at one position or more: other sums.
        logits = classifier(backbone(clips).embedding)
        torch.testing.assert_close(logits, plain(clips), rtol=1e-5, atol=1e-6)


def test_only_the_shape_of_a_classifiers_weight_changes(make_architecture):
    backbone = make_architecture("s3d", num_frames=8).build_backbone()
    classifier = nn.Linear(backbone.embedding_dim, 5)
    state = backbone.head_state(classifier.state_dict())
    assert list(state) == ["classifier.1.weight", "classifier.1.bias"]
    assert torch.equal(state["classifier.1.weight"][..., 0, 0, 0], classifier.weight)
    assert torch.equal(state["classifier.1.bias"], classifier.bias)


@pytest.mark.parametrize(
    ("factor", "num_blocks"),
    [(0.1, (1, 1, 1)), (0.5, (1, 3, 1)), (1.0, (2, 5, 2)), (1.5, (3, 8, 3))],
)
def test_a_stage_of_any_depth_ends_with_the_same_channels(factor, num_blocks):
    with torch.device("meta"):
        backbone = get_architecture(
            "s3d", num_frames=16, crop_size=224, depth_factor=factor
        ).build_backbone()
    shapes = compute_level_shapes(backbone, (3, 16, 224, 224)).levels
    assert [shape[0] for shape in shapes.values()] == [192, 480, 832, 1024]
    parts = backbone.parts()
    # Beside its blocks, every later stage holds a pooling.
    assert tuple(len(parts[f"stage{i}"]) - 1 for i in (2, 3, 4)) == num_blocks


def test_channels_are_scaled_to_multiples_of_8(make_architecture):
    shapes = compute_level_shapes(
        make_architecture("s3d", num_frames=8).build_backbone(), (3, 8, 32, 32)
    )
    # 192 channels; branches of 128 192 96 64; 256 320 128 128; 384 384 128 128; all over 8.
    expected = [24, 16 + 24 + 16 + 8, 32 + 40 + 16 + 16, 48 + 48 + 16 + 16]
    assert [shape[0] for shape in shapes.levels.values()] == expected


def test_running_statistics_follow_in_a_short_training(make_architecture):
    backbone = make_architecture("s3d", num_frames=8).build_backbone()
    clips = torch.randn(4, 3, 8, 32, 32) + 1
    conv, norm, _ = backbone.net.features[0][0]
    with torch.no_grad():
        for _ in range(40):
            backbone.train()(clips)
        mean = conv(clips).mean(dim=(0, 2, 3, 4))
    # The library's momentum would leave 96 % of the initial zeros.
    torch.testing.assert_close(norm.running_mean, mean, rtol=0.02, atol=0.0)


@pytest.mark.parametrize(("num_frames", "crop_size"), [(4, 32), (8, 16)])
def test_clips_that_leave_nothing_to_pool_are_refused(num_frames, crop_size):
    with pytest.raises(InputError, match="s3d needs at least 5 frames and a crop of at least 17"):
        get_architecture("s3d", num_frames=num_frames, crop_size=crop_size)
