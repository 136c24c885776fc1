import pytest
import torch
from torch import nn

from videokd.engine.optim import build_optimizer, cosine_lr, scale_lr


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


def make_net():
    blocks = {"experts": nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(2, 3)})}
    return nn.ModuleDict({**blocks, "experts_norm": nn.LayerNorm(3), "head": nn.Linear(3, 2)})


def read_groups(net, optimizer, key):
    """Return parameter name -> what its group has under ``key``; each is in just one group."""
    names = {id(p): name for name, p in net.named_parameters()}
    rows = [(names[id(p)], g[key]) for g in optimizer.param_groups for p in g["params"]]
    assert len(rows) == len(dict(rows)) == len(names)
    return dict(rows)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_longest_name_that_holds_a_parameter_gives_its_factor(name):
    net = make_net()
    scales = {"experts.b.bias": 3.0, "experts": 0.1, "experts.b": 0.5}
    optimizer = build_optimizer(net, name=name, base_lr=2.0, weight_decay=0.05, lr_scales=scales)
    expected = {
        **{"experts.a.weight": 0.1, "experts.a.bias": 0.1},
        **{"experts.b.weight": 0.5, "experts.b.bias": 3.0},
        **{"experts_norm.weight": 1.0, "experts_norm.bias": 1.0},
        **{"head.weight": 1.0, "head.bias": 1.0},
    }
    assert read_groups(net, optimizer, "lr_scale") == expected
    assert read_groups(net, optimizer, "lr") == {n: 2.0 * s for n, s in expected.items()}
    decays = read_groups(net, optimizer, "weight_decay")
    assert decays == {n: 0.05 if p.ndim > 1 else 0.0 for n, p in net.named_parameters()}


def test_a_rate_is_set_times_the_factor_of_each_group():
    net = make_net()
    optimizer = build_optimizer(
        net, name="sgd", base_lr=2.0, weight_decay=0.0, lr_scales={"experts": 0.25}
    )
    scale_lr(optimizer, 0.8)
    rates = read_groups(net, optimizer, "lr")
    assert {rates["experts.a.weight"], rates["experts.b.bias"]} == {0.2}
    assert {rates["experts_norm.weight"], rates["head.bias"]} == {0.8}
    plain = torch.optim.SGD(net.parameters(), lr=1.0)
    scale_lr(plain, 0.8)
    assert plain.param_groups[0]["lr"] == 0.8


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_without_factors_there_are_two_groups_at_the_base_rate(name):
    optimizer = build_optimizer(make_net(), name=name, base_lr=0.1, weight_decay=0.05)
    rates = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert rates == [(0.1, 0.05), (0.1, 0.0)]


@pytest.mark.parametrize("prefix", ["expert", "head.", "frozen", ""])
def test_a_name_that_holds_no_trainable_parameter_is_refused(prefix):
    net = make_net()
    net["frozen"] = nn.Linear(2, 2).requires_grad_(False)
    message = f"'{prefix}' holds no trainable parameter; known are experts.a, experts.b, "
    with pytest.raises(ValueError, match=message):
        build_optimizer(net, name="sgd", base_lr=0.1, weight_decay=0.0, lr_scales={prefix: 0.1})


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_factor_that_is_not_positive_is_refused(scale):
    options = {"name": "sgd", "base_lr": 0.1, "weight_decay": 0.0}
    with pytest.raises(ValueError, match=r"lr_scales\['head'\] must be > 0, got"):
        build_optimizer(make_net(), **options, lr_scales={"head": scale})
