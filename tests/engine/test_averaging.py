import copy

import pytest
import torch
from torch import nn

from videokd.engine.averaging import WeightAverage
from videokd.models.frozen import Frozen


def make_net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def shift(net, change):
    with torch.no_grad():
        for weight in net.parameters():
            weight += change


def test_the_average_is_that_of_a_loop_over_weights_and_statistics():
    net = make_net()
    expected = {name: value.double() for name, value in net.state_dict().items()}
    average = WeightAverage(net, decay=0.2)
    for decay in (0.1, 2 / 11, 0.2, 0.2):  # (1 + n) / (10 + n) up to 0.2
        shift(net, 0.5)
        net(torch.randn(5, 3))
        average.update()
        for name, value in net.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    found = average.module.state_dict()
    for name in expected.keys() - {"1.num_batches_tracked"}:
        torch.testing.assert_close(found[name].double(), expected[name], rtol=1e-6, atol=1e-6)


def test_the_weights_of_a_net_that_stands_still_are_averaged_to_themselves():
    net = make_net()
    average = WeightAverage(net, decay=0.99)
    for _ in range(30):
        average.update()
    kept = average.module.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in net.state_dict().items())


def test_counts_of_batches_are_copied_and_stay_integers():
    net = make_net()
    average = WeightAverage(net, decay=0.9)
    for _ in range(30):
        net(torch.randn(5, 3))
        average.update()
    count = average.module[1].num_batches_tracked
    assert (count.item(), count.dtype) == (30, torch.int64)


def test_frozen_networks_are_shared_and_the_rest_is_copied():
    frozen = nn.Linear(3, 3)
    net = nn.Sequential(Frozen(frozen), nn.Linear(3, 2))
    average = WeightAverage(net, decay=0.9, frozen=[frozen])
    assert average.module[0].module is frozen
    assert average.module[0] is not net[0]
    assert average.module[1].weight is not net[1].weight
    clips = torch.randn(4, 3)
    assert torch.equal(average.module(clips), net(clips))
    assert net.training


def test_the_extra_state_of_a_module_is_copied():
    class Counting(nn.Linear):
        num_seen = 0

        def get_extra_state(self):
            return torch.tensor(self.num_seen)

        def set_extra_state(self, state):
            self.num_seen = int(state)

    net = nn.Sequential(nn.Linear(2, 2), Counting(2, 2))
    average = WeightAverage(net, decay=0.9)
    net[1].num_seen = 7
    average.update()
    assert average.module[1].num_seen == 7


def test_the_average_is_apart_from_the_model_and_not_trained():
    net = make_net()
    average = WeightAverage(net, decay=0.9)
    before = copy.deepcopy(average.module.state_dict())
    shift(net, 1.0)
    assert all(torch.equal(before[k], v) for k, v in average.module.state_dict().items())
    assert not average.module.training
    assert not any(weight.requires_grad for weight in average.module.parameters())
    assert net.training
    assert all(weight.requires_grad for weight in net.parameters())


def test_no_value_on_the_device_is_read():
    # Reading one from a meta tensor, which has none, is an error.
    average = WeightAverage(make_net().to("meta"), decay=0.9)
    average.update()
    average.update()
    assert average.num_updates == 2


def test_an_average_goes_on_from_what_was_kept_of_it():
    net = make_net()
    first = WeightAverage(net, decay=0.9)
    shift(net, 1.0)
    first.update()
    other = WeightAverage(net, decay=0.9)
    other.load(first.module.state_dict(), num_updates=first.num_updates)
    shift(net, 1.0)
    first.update()
    other.update()
    for name, value in first.module.state_dict().items():
        assert torch.equal(value, other.module.state_dict()[name])


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_that_is_no_share_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got"):
        WeightAverage(make_net(), decay=decay)
