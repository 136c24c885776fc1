import torch
from torch import nn

from videokd.models.levels import compute_level_shapes
from videokd.models.zoo import get_architecture


def make_small(**changes):
    options = {"num_frames": 8, "crop_size": 32, **changes}
    return get_architecture("cnn3d_s", **options)


def test_levels_have_the_shapes_worked_out_by_hand():
    shapes = compute_level_shapes(make_small().build_backbone(), (3, 8, 32, 32))
    assert shapes.levels == {
        "stage1": (16, 8, 16, 16),
        "stage2": (32, 4, 8, 8),
        "stage3": (64, 4, 4, 4),
        "stage4": (64, 4, 2, 2),
    }
    assert shapes.embedding_dim == 64


def test_a_network_of_one_width_and_depth_has_the_parameters_counted_by_hand():
    net = make_small().build_plain(num_classes=10)
    convs = 27 * (3 * 16 + 16 * 32 + 32 * 64 + 64 * 64)
    norms = 2 * (16 + 32 + 64 + 64)
    assert sum(p.numel() for p in net.parameters()) == convs + norms + 64 * 10 + 10


def test_depth_adds_convolutions_that_keep_the_grid():
    deep = make_small(depth_factor=2.0).build_plain(num_classes=2)
    assert sum(isinstance(module, nn.Conv3d) for module in deep.modules()) == 8
    shapes = compute_level_shapes(
        make_small(depth_factor=2.0, width_factor=0.5).build_backbone(), (3, 8, 32, 32)
    )
    assert shapes.levels["stage4"] == (32, 4, 2, 2)


def test_the_classifier_of_the_embedding_gives_the_networks_logits():
    architecture = make_small()
    net = architecture.build_plain(num_classes=5).eval()
    head = net.head
    clips = torch.randn(2, 3, 8, 32, 32)
    expected = net(clips)
    features = architecture.wrap(net).eval()(clips)
    torch.testing.assert_close(head(features.embedding), expected)
