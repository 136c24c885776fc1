"""The formula of JointTeacher's docstring, cell by cell in float64.

The experts' maps lie on the level's own grid: resampling is tested by itself.
"""

import math

import numpy as np
import pytest
import torch

from videokd.fusion.pyramid import FusedEmbedding, FusedLevel
from videokd.fusion.trunk import PooledEmbedding, TrunkLevel


def _numpy(value):
    return value.detach().double().numpy()


def _norm(module, x):
    """Batch norm in evaluation of a vector of channels."""
    scale = _numpy(module.weight) / np.sqrt(_numpy(module.running_var) + module.eps)
    return (x - _numpy(module.running_mean)) * scale + _numpy(module.bias)


def _gelu(x):
    return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])


def _strided_cell(conv, x, cell):
    """One cell of a 3x3x3 convolution with padding 1 of x (C, T, H, W)."""
    weight, total = _numpy(conv.weight), np.zeros(conv.out_channels)
    for offset in np.ndindex(3, 3, 3):
        place = [c * s + o - 1 for c, s, o in zip(cell, conv.stride, offset, strict=True)]
        if all(0 <= p < size for p, size in zip(place, x.shape[1:], strict=True)):
            total += weight[(slice(None), slice(None), *offset)] @ x[(slice(None), *place)]
    return total if conv.bias is None else total + _numpy(conv.bias)


def _assert_cells_are(fused, grid, compute_cell):
    for cell in np.ndindex(*grid):
        actual = _numpy(fused[(slice(None), *cell)])
        np.testing.assert_allclose(actual, compute_cell(cell), rtol=1e-4, atol=1e-5)


def test_a_fused_level_is_the_documented_formula(randomise):
    grid = (2, 2, 3)
    channels = {"a": 3, "b": 5}
    level = randomise(FusedLevel(channels, (4, *grid), below=(2, 4, 4, 6), width=6))
    maps = {name: torch.randn(1, c, *grid) for name, c in channels.items()}
    below = torch.randn(1, 2, 4, 4, 6)
    assert level.down.stride == (2, 2, 2)

    def compute_cell(cell):
        parts = []
        for name, adaptor in level.adaptors.items():
            x = _norm(adaptor.norm, _numpy(maps[name])[(0, slice(None), *cell)])
            parts.append(_numpy(adaptor.conv.weight)[:, :, 0, 0, 0] @ x + _numpy(adaptor.conv.bias))
        parts.append(_strided_cell(level.down, _numpy(below)[0], cell))
        mixed = _gelu(_norm(level.mix.norm, np.concatenate(parts)))
        return _gelu(_norm(level.norm, _numpy(level.mix.conv.weight)[:, :, 0, 0, 0] @ mixed))

    with torch.no_grad():
        _assert_cells_are(level(maps, below)[0], grid, compute_cell)


def test_a_trunk_level_is_the_documented_formula(randomise):
    level = randomise(TrunkLevel((2, 4, 4, 6), (5, 4, 2, 3)))
    below = torch.randn(1, 2, 4, 4, 6)
    assert level.conv.stride == (1, 2, 2)
    with torch.no_grad():
        _assert_cells_are(
            level({}, below)[0],
            (4, 2, 3),
            lambda cell: _gelu(
                _norm(level.norm, _strided_cell(level.conv, below[0].numpy(), cell))
            ),
        )


@pytest.mark.parametrize(
    ("grid", "size", "stride"),
    [((2, 4, 4), 1, (1, 1, 1)), ((2, 2, 2), 3, (1, 2, 2)), ((1, 3, 1), 3, (2, 1, 4))],
)
def test_a_trunks_convolution_is_1x1x1_only_where_all_of_the_grid_stays(grid, size, stride):
    level = TrunkLevel((3, 2, 4, 4), (5, *grid))
    assert level.conv.kernel_size == (size,) * 3
    assert level.conv.stride == stride
    assert level({}, torch.randn(2, 3, 2, 4, 4)).shape == (2, 5, *grid)


def test_the_fused_embedding_is_the_documented_formula(randomise):
    dims = {"a": 3, "b": 5}
    embed = randomise(FusedEmbedding(dims, 4, 7, width=6))
    embeddings = {name: torch.randn(2, dim) for name, dim in dims.items()}
    top = torch.randn(2, 4, 1, 2, 3)
    with torch.no_grad():
        fused = embed(embeddings, top)
    for i in range(2):
        parts = [
            _numpy(adaptor.linear.weight) @ _norm(adaptor.norm, _numpy(embeddings[name][i]))
            + _numpy(adaptor.linear.bias)
            for name, adaptor in embed.adaptors.items()
        ]
        parts.append([_numpy(top[i, c]).mean() for c in range(4)])
        expected = _gelu(_norm(embed.norm, _numpy(embed.linear.weight) @ np.concatenate(parts)))
        np.testing.assert_allclose(_numpy(fused[i]), expected, rtol=1e-4, atol=1e-5)


def test_a_pooled_embedding_is_linear_in_the_means_of_the_map():
    embed = PooledEmbedding(2, 3)
    top = torch.tensor([1.0, 3.0, -2.0, 6.0]).view(1, 2, 1, 1, 2)
    torch.testing.assert_close(embed({}, top), embed.linear(torch.tensor([[2.0, 2.0]])))


def test_the_lowest_level_has_no_map_below():
    level = FusedLevel({"a": 3}, (4, 1, 2, 2), below=None, width=6)
    assert level.down is None
    assert level({"a": torch.randn(2, 3, 1, 2, 2)}, None).shape == (2, 4, 1, 2, 2)
    assert level.mix.conv.in_channels == 6
