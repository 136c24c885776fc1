import math

import pytest
import torch
import torch.nn.functional as F

from videokd.fusion.mixes import MIXES, AttentionMix, ConvMix, GateMix

WIDTH, OUT, GRID = 4, 3, (2, 3, 2)


def _maps(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, WIDTH, *GRID, generator=generator) for _ in range(count)]


def _last(mix, summed):
    """The last layers of a mix in eval mode, with fresh norms: BN divides by sqrt(1 + eps)."""
    return mix.conv(F.gelu(summed / math.sqrt(1 + 1e-5)))


def _at(tensor, place):
    b, t, h, w = place
    return tensor[b, :, t, h, w]


def _linear(conv, vector):
    return conv.weight.flatten(1) @ vector + conv.bias


@pytest.fixture
def places():
    return [(b, t, h, w) for b in range(2) for t in range(2) for h in range(3) for w in range(2)]


@torch.no_grad()
def test_gates_weigh_the_maps_of_each_position(places):
    mix, maps = GateMix(3, WIDTH, OUT).eval(), _maps(3)
    summed = torch.empty(2, WIDTH, *GRID)
    for place in places:
        vectors = [_at(one, place) for one in maps]
        gates = _linear(mix.gate, torch.cat(vectors)).softmax(dim=0)
        _at(summed, place).copy_(sum(g * v for g, v in zip(gates, vectors, strict=True)))
    torch.testing.assert_close(mix(maps), _last(mix.last, summed))


@torch.no_grad()
def test_attention_is_over_the_maps_of_each_position(places):
    mix, maps = AttentionMix(3, WIDTH, OUT).eval(), _maps(3)
    summed = torch.empty(2, WIDTH, *GRID)
    for place in places:
        vectors = [_at(one, place) for one in maps]
        query = _linear(mix.query, sum(vectors) / 3)
        scores = torch.stack([query @ _linear(mix.key, v) / 2 for v in vectors])
        values = [_linear(mix.value, v) for v in vectors]
        shares = scores.softmax(dim=0)
        _at(summed, place).copy_(sum(s * v for s, v in zip(shares, values, strict=True)))
    torch.testing.assert_close(mix(maps), _last(mix.last, summed))


@torch.no_grad()
def test_a_large_kernel_sees_the_neighbours_and_a_small_one_does_not():
    maps = _maps(1)
    changed = [maps[0].clone()]
    changed[0][0, :, 0, 0, 0] += 1.0
    for name, is_seen in (("conv1", False), ("conv3", True)):
        mix = MIXES[name](1, WIDTH, OUT).eval()
        moved = (mix(changed) - mix(maps)).abs().sum(dim=1)[0]
        assert moved[0, 0, 0] > 0
        assert bool(moved[1, 1, 1] > 0) == is_seen


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize("count", [1, 3])
def test_every_map_gets_a_gradient(name, count):
    mix = MIXES[name](count, WIDTH, OUT)
    maps = [one.requires_grad_() for one in _maps(count)]
    result = mix(maps)
    assert result.shape == (2, OUT, *GRID)
    result.square().sum().backward()
    assert all(one.grad.abs().sum() > 0 for one in maps)


def test_the_default_is_the_published_mix():
    assert MIXES["conv1"] is ConvMix
    assert ConvMix(2, WIDTH, OUT).conv.kernel_size == (1, 1, 1)
