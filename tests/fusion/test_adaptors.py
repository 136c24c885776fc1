import pytest
import torch
from torch import nn

from videokd.fusion.adaptors import EmbeddingAdaptor, MapAdaptor, adapt, resample
from videokd.fusion.standardise import PhiStandardiser, RunningStandardiser


def test_resampling_to_the_own_grid_changes_nothing():
    feature = torch.randn(2, 3, 2, 3, 4)
    assert resample(feature, (2, 3, 4)) is feature


def test_axes_that_shrink_are_averaged():
    feature = torch.arange(16.0).view(1, 1, 2, 2, 4)
    halved = feature.view(2, 2, 2, 2).mean(dim=(0, 1, 3))  # over T, H and pairs of W
    torch.testing.assert_close(resample(feature, (1, 1, 2)).flatten(), halved)


def test_axes_that_grow_are_interpolated_between_cell_centres():
    feature = torch.tensor([0.0, 4.0]).view(1, 1, 1, 1, 2)
    # Centres of 4 cells lie at 1/8, 3/8, 5/8, 7/8; those of 2 cells at 1/4 and 3/4.
    assert resample(feature, (1, 1, 4)).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]


def test_one_axis_may_grow_while_another_shrinks():
    feature = torch.tensor([[0.0, 2.0], [4.0, 6.0]]).view(1, 1, 2, 2, 1)
    grown = resample(feature, (1, 4, 1))  # T averaged: 2, 4; H interpolated
    assert grown.flatten().tolist() == [2.0, 2.5, 3.5, 4.0]


@pytest.mark.parametrize("grid", [(1, 1, 1), (3, 5, 2), (7, 4, 9)])
def test_resampling_keeps_a_constant_map_whatever_the_grid(grid):
    feature = torch.full((1, 2, 2, 5, 5), 3.0)
    torch.testing.assert_close(resample(feature, grid), torch.full((1, 2, *grid), 3.0))


@pytest.mark.parametrize("grid", [(1, 3, 3), (4, 9, 9), (2, 3, 9)])
def test_resampling_before_or_after_the_convolution_is_the_same(grid):
    adaptor = MapAdaptor(3, 4, grid=grid).eval()
    feature = torch.randn(2, 3, 2, 6, 5)
    after = resample(adaptor.conv(adaptor.norm(feature)), grid)
    torch.testing.assert_close(adaptor(feature), after, rtol=1e-5, atol=1e-5)


def test_adaptors_take_bf16_and_give_float32():
    maps = MapAdaptor(3, 4, grid=(1, 2, 2))(torch.randn(2, 3, 2, 4, 4).bfloat16())
    embeddings = EmbeddingAdaptor(3, 4)(torch.randn(2, 3).bfloat16())
    assert maps.dtype == embeddings.dtype == torch.float32
    assert maps.shape == (2, 4, 1, 2, 2)
    assert embeddings.shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "kind", "num_parameters"),
    [
        ("none", nn.Identity, 0),
        ("batch_norm", nn.BatchNorm3d, 6),
        ("running", RunningStandardiser, 0),
        ("phi_s", PhiStandardiser, 0),
    ],
)
def test_each_standardisation_comes_before_the_convolution(name, kind, num_parameters):
    adaptor = MapAdaptor(3, 4, grid=(1, 2, 2), standardise=name)
    feature = 5 + torch.randn(8, 3, 1, 2, 2)
    assert type(adaptor.norm) is kind
    assert sum(p.numel() for p in adaptor.norm.parameters()) == num_parameters
    adaptor(feature)
    adaptor.eval()
    torch.testing.assert_close(adaptor(feature), adaptor.conv(adaptor.norm(feature)))
    embedding = EmbeddingAdaptor(3, 4, standardise=name)
    assert isinstance(embedding.norm, nn.BatchNorm1d if name == "batch_norm" else kind)


def test_weights_multiply_what_comes_out_of_the_adaptors_clip_by_clip():
    adaptors = nn.ModuleDict({"a": EmbeddingAdaptor(3, 4), "b": EmbeddingAdaptor(2, 4)}).eval()
    features = {"b": torch.randn(2, 2), "a": torch.randn(2, 3)}
    plain = adapt(adaptors, features, None)
    torch.testing.assert_close(plain[0], adaptors["a"](features["a"]))
    weights = {"a": torch.tensor([0.0, 2.0]), "b": torch.tensor([1.0, 3.0])}
    first, second = adapt(adaptors, features, weights)
    assert not first[0].any()
    torch.testing.assert_close(first[1], 2 * plain[0][1])
    torch.testing.assert_close(second, plain[1] * torch.tensor([[1.0], [3.0]]))
