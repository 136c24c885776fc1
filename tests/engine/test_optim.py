import pytest
import torch
from torch import nn

from videokd.engine.optim import build_optimizer, cosine_lr


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, 0.0),
        (0.1, 1.0),
        (0.2, 2.0),
        (0.4, 1.7071068),
        (0.6, 1.0),
        (0.8, 0.2928932),
        (1.0, 0.0),
    ],
)
def test_the_rate_rises_linearly_and_falls_as_half_a_cosine(progress, expected):
    assert cosine_lr(progress, base_lr=2.0, warmup=0.2) == pytest.approx(expected, abs=1e-7)


def test_without_warmup_the_rate_starts_at_its_peak():
    assert cosine_lr(0.0, base_lr=0.3, warmup=0.0) == 0.3


def test_the_rate_is_never_negative_nor_above_its_peak():
    for warmup in (0.0, 0.1, 0.5):
        rates = [cosine_lr(step / 97, base_lr=1.0, warmup=warmup) for step in range(97)]
        assert 0 <= min(rates) < max(rates) <= 1


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_norms_and_biases_are_not_decayed_and_frozen_weights_are_left_out(name):
    net = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.Linear(4, 2))
    net[2].weight.requires_grad_(False)
    optimizer = build_optimizer(net, name=name, base_lr=0.1, weight_decay=0.05)
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    expected = {
        id(p): 0.05 if p.ndim > 1 else 0.0 for p in net.parameters() if p is not net[2].weight
    }
    assert decay == expected
    assert type(optimizer) is {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="must be adamw or sgd, got 'lion'"):
        build_optimizer(nn.Linear(2, 2), name="lion", base_lr=0.1, weight_decay=0.0)
