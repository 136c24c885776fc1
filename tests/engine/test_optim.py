import pytest
import torch
from torch import nn

from videokd.engine.optim import build_optimizer, is_decayed, load_momenta, scale_lr


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


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("linear.weight", (4, 3), True),
        ("conv.weight", (4, 1, 3, 3, 3), True),
        ("classifier_of_one.weight", (1, 3), True),
        ("norm.weight", (4,), False),
        ("cls_token", (1, 1, 4), False),
        ("pos_embed", (1, 9, 4), False),
        ("pos_encoding.spatial_pos", (9, 4), True),
        ("attn.relative_position_bias_table", (27, 3), False),
        ("scale", (), False),
    ],
)
def test_tokens_and_embeddings_of_positions_are_not_decayed_where_they_are_broadcast(
    name, shape, expected
):
    assert is_decayed(name, nn.Parameter(torch.zeros(shape))) is expected


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_on_the_cpu_the_update_is_the_plain_one_bit_for_bit(name):
    net, other = nn.Linear(30, 20), nn.Linear(30, 20)
    other.load_state_dict(net.state_dict())
    ours = build_optimizer(net, name=name, base_lr=0.01, weight_decay=0.0)
    plain = {
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0, foreach=False),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, foreach=False),
    }[name](other.parameters())
    for _ in range(3):
        x = torch.randn(4, 30)
        for module, optimizer in ((net, ours), (other, plain)):
            optimizer.zero_grad()
            module(x).square().sum().backward()
            optimizer.step()
    assert torch.equal(net.weight, other.weight)


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


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("fused", [True, None])
def test_loaded_momenta_keep_the_optimizers_own_choice_of_fused(name, fused):
    """CPUs have fused optimizers, too: one of them stands for that of a GPU."""
    optimizers = []
    net = nn.Linear(3, 2)
    for is_fused in (None if fused else True, fused):
        optimizer = build_optimizer(net, name=name, base_lr=0.1, weight_decay=0.0)
        for group in optimizer.param_groups:
            group["fused"] = is_fused
        optimizers.append(optimizer)
    saved, loaded = optimizers
    net(torch.ones(1, 3)).sum().backward()
    saved.step()
    load_momenta(loaded, saved.state_dict())
    assert {group["fused"] for group in loaded.param_groups} == {fused}
    assert loaded.state_dict()["state"].keys() == saved.state_dict()["state"].keys()
    net(torch.ones(1, 3)).sum().backward()
    loaded.step()
