import copy
import warnings

import pytest
import torch
from torch import nn

from videokd.engine.averaging import WeightAverage
from videokd.engine.precise_norms import recompute_statistics, statistics_kept
from videokd.models.frozen import Frozen


@pytest.fixture(scope="module")
def update_bn_stats():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it still asks for TorchScript
        from fvcore.nn.precise_bn import update_bn_stats
    return update_bn_stats


def make_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(3, 4, 1),
        nn.BatchNorm3d(4),
        nn.Dropout(0.5),
        nn.Conv3d(4, 2, 1),
        nn.BatchNorm3d(2),
    )


def make_inputs(sizes=(4, 2, 5)):
    return [torch.rand(size, 3, 2, 3, 3, generator=torch.manual_seed(size)) for size in sizes]


def test_one_norm_gets_mean_and_variance_of_all_values_together():
    norm, inputs = nn.BatchNorm3d(3), make_inputs()
    assert recompute_statistics(norm, inputs) == 1
    values = torch.cat(inputs).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.running_mean.double(), values.mean(1))
    torch.testing.assert_close(norm.running_var.double(), values.var(1, correction=0))


def test_two_layers_get_what_fvcore_gives_them(update_bn_stats):
    net, inputs = make_net(), make_inputs()
    other = copy.deepcopy(net).eval()
    for module in other:
        module.train(isinstance(module, nn.BatchNorm3d))
    update_bn_stats(other, inputs, num_iters=len(inputs))
    assert recompute_statistics(net, inputs) == 2
    for i in (1, 4):
        torch.testing.assert_close(net[i].running_mean, other[i].running_mean)
        torch.testing.assert_close(net[i].running_var, other[i].running_var)


def test_a_channel_that_hardly_varies_keeps_a_variance_above_zero(update_bn_stats):
    inputs = [100 + 1e-3 * torch.randn(8, 1, 4, 4, 4) for _ in range(6)]
    norm, other = nn.BatchNorm3d(1), nn.BatchNorm3d(1)
    recompute_statistics(norm, inputs)
    assert norm.running_var.item() == pytest.approx(1e-6, rel=0.1)
    # Which is why the library's own is not used.
    update_bn_stats(other, inputs, num_iters=len(inputs))
    assert other.running_var.item() < 0


def test_a_norm_that_is_called_twice_gets_the_values_of_both_calls():
    norm, (one, other) = nn.BatchNorm3d(3), make_inputs((4, 5))

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = norm

        def forward(self, pair):
            return [self.norm(x) for x in pair]

    recompute_statistics(Twice(), [(one, other)])
    values = torch.cat([one, other]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.running_mean, values.mean(1))
    torch.testing.assert_close(norm.running_var, values.var(1, correction=0))


def test_nothing_but_the_statistics_changes_and_no_random_number_is_drawn():
    net, inputs = make_net(), make_inputs()
    net[1].momentum, net[4].momentum = 0.3, None
    net.train()
    net[3].eval()
    net[1](torch.rand(2, 4, 2, 3, 3))
    before = copy.deepcopy(net.state_dict())
    modes = [module.training for module in net.modules()]
    random_state = torch.get_rng_state()
    recompute_statistics(net, inputs)
    changed = {n for n, value in net.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {f"{i}.running_{what}" for i in (1, 4) for what in ("mean", "var")}
    assert [module.training for module in net.modules()] == modes
    assert (net[1].momentum, net[4].momentum) == (0.3, None)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_same_inputs_give_the_same_statistics_whatever_was_there_before():
    net, inputs = make_net(), make_inputs()
    other = copy.deepcopy(net)
    other[1].running_mean.fill_(7.0)
    recompute_statistics(net, inputs)
    recompute_statistics(other, inputs)
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), other.buffers(), strict=True))


def test_statistics_of_frozen_networks_stay():
    class Stay(nn.BatchNorm3d):
        """Has no part in the training, as the lower stages of a fine-tuned expert."""

        def train(self, mode=True):
            return super().train(False)

    expert, stay, norm = nn.BatchNorm3d(3), Stay(3), nn.BatchNorm3d(3)
    net = nn.Sequential(Frozen(expert), stay, norm)
    before = [copy.deepcopy(m.state_dict()) for m in (expert, stay)]
    assert recompute_statistics(net, make_inputs()) == 1
    for module, old in zip((expert, stay), before, strict=True):
        assert all(torch.equal(value, old[n]) for n, value in module.state_dict().items())
    assert not torch.equal(norm.running_var, torch.ones(3))


def test_an_average_of_weights_gets_statistics_of_its_own():
    net, inputs = make_net(), make_inputs()
    average = WeightAverage(net, decay=0.5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    assert recompute_statistics(average.module, inputs) == 2
    assert not any(module.training for module in average.module.modules())
    expected = make_net()
    recompute_statistics(expected, inputs)
    assert torch.equal(average.module[4].running_var, expected[4].running_var)


def test_without_norms_or_inputs_nothing_is_done():
    net, norm = nn.Linear(2, 2), nn.BatchNorm3d(3)
    assert recompute_statistics(net, [torch.zeros(2, 2)]) == 0
    assert recompute_statistics(norm, []) == 0
    assert torch.equal(norm.running_var, torch.ones(3))


def test_modes_and_hooks_are_put_back_after_an_error():
    net = make_net().eval()
    with pytest.raises(RuntimeError, match="expected input"):
        recompute_statistics(net, [*make_inputs(), torch.zeros(2, 7, 2, 2, 2)])
    assert not any(module.training or module._forward_hooks for module in net.modules())
    assert net[1].momentum == 0.1


def test_statistics_can_be_kept_over_a_block():
    net, inputs = make_net(), make_inputs()
    before = copy.deepcopy(net.state_dict())
    buffers = list(net.buffers())
    with statistics_kept(net):
        recompute_statistics(net, inputs)
        assert not torch.equal(net[1].running_var, before["1.running_var"])
    assert all(torch.equal(value, before[n]) for n, value in net.state_dict().items())
    assert all(a is b for a, b in zip(net.buffers(), buffers, strict=True))
