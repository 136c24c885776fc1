"""Shards in a group of one process; what several ranks do is in tests/distributed."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from videokd.engine.optim import build_optimizer
from videokd.engine.sharding import Sharding, join_shards, load_states, stack_whole_norms

pytestmark = pytest.mark.usefixtures("group_of_one")


class Counting(nn.Module):
    """Has a buffer that it replaces, and a state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("seen", torch.zeros(3))
        self.count = 0

    def forward(self, x):
        self.seen, self.count = self.seen + x.detach().sum(dim=0), self.count + 1
        return self.linear(x)

    def get_extra_state(self):
        return torch.tensor(self.count)

    def set_extra_state(self, state):
        self.count = int(state)


class Task(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch, progress):
        return SimpleNamespace(loss=self.model(batch).square().mean() + progress)


def make_task() -> Task:
    torch.manual_seed(1)
    return Task(nn.Sequential(Counting(), nn.ReLU(), nn.Linear(3, 2)))


def train(call, optimizer, steps=(0, 1)):
    for step in steps:
        optimizer.zero_grad()
        call(torch.ones(4, 3) * (step + 1), 0.5).loss.backward()
        optimizer.step()


def test_a_step_is_that_of_the_plain_task():
    plain, task = make_task(), make_task()
    sharding = Sharding(task, task.model, blocks=[task.model[0]])
    train(plain, torch.optim.AdamW(plain.parameters()))
    train(sharding, torch.optim.AdamW(task.parameters()))
    expected = plain.state_dict()
    for name, value in join_shards(task.state_dict(), is_kept=True).items():
        assert torch.equal(value, expected[name])


def test_the_copy_has_the_weights_inside_only():
    task = make_task()
    sharding = Sharding(task, task.model, blocks=[task.model[0]])
    assert all(p.is_meta for p in sharding.model.parameters())
    with sharding.whole():
        expected, state = make_task().model.state_dict(), sharding.model.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in state.items())
        sharding.model(torch.ones(2, 3))
    assert all(p.is_meta for p in sharding.model.parameters())


def test_the_copy_has_what_the_training_did_to_buffers_and_states():
    task = make_task()
    sharding = Sharding(task, task.model)
    train(sharding, torch.optim.SGD(task.parameters()), steps=range(3))
    with sharding.whole():
        assert sharding.model[0].seen.tolist() == [24.0] * 3
        assert sharding.model[0].count == 3
        sharding.model[0].seen.zero_()  # as when statistics are measured anew
    assert task.model[0].seen.tolist() == [0.0] * 3


def test_the_copy_shares_frozen_networks():
    task = make_task()
    task.model[0].hidden = (frozen := nn.Linear(2, 2),)
    assert Sharding(task, task.model).model[0].hidden[0] is not frozen
    task = make_task()
    task.model[0].hidden = (frozen,)
    assert Sharding(task, task.model, frozen=[frozen]).model[0].hidden[0] is frozen


def test_weights_in_channels_last_are_shared_out_too():
    task = Task(nn.Conv3d(2, 3, 2).to(memory_format=torch.channels_last_3d))
    expected = task.model.weight.detach().clone()
    Sharding(task, task.model)
    whole = task.model.weight.full_tensor()
    assert whole.is_contiguous()
    assert torch.equal(whole, expected)


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True), (True, True)])
def test_a_training_goes_on_with_shards_and_without(before, after):
    whole = make_task()
    train(whole, torch.optim.AdamW(whole.parameters()), steps=range(4))
    states = None
    for is_sharded, steps in ((before, (0, 1)), (after, (2, 3))):
        task = make_task()
        sharding = Sharding(task, task.model) if is_sharded else None
        optimizer = torch.optim.AdamW(task.parameters())
        if states is not None:
            load_states(task, optimizer, *states)
        train(sharding or task, optimizer, steps)
        states = join_shards([task.state_dict(), optimizer.state_dict()], is_kept=True)
    assert states[1]["state"][0]["step"] == 4
    for name, value in whole.state_dict().items():
        assert torch.equal(states[0][name], value), name


def test_a_rank_that_keeps_nothing_gets_nothing():
    task = make_task()
    Sharding(task, task.model)
    state = join_shards([task.state_dict(), {"lr": 0.1}], is_kept=False)
    assert state[0]["model.2.weight"] is None
    assert state[0]["model.0.seen"].tolist() == [0.0] * 3
    assert state[1] == {"lr": 0.1}


def test_norms_of_shards_tell_what_is_not_finite():
    task = make_task()
    Sharding(task, task.model)
    values = [parameter.detach() for parameter in task.parameters()]
    values[1].to_local()[0] = torch.nan
    norms = stack_whole_norms(values)
    expected = stack_whole_norms([value.full_tensor() for value in values])
    torch.testing.assert_close(norms, expected, equal_nan=True)
    assert norms.isfinite().tolist() == [True, False, True, True]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("fused", [True, None])
def test_a_training_that_goes_on_keeps_its_own_choice_of_a_fused_optimizer(name, fused):
    """CPUs have fused optimizers, too: one of them stands for that of a GPU."""
    states = []
    for is_saved in (True, False):
        net = nn.Linear(3, 2)
        optimizer = build_optimizer(net, name=name, base_lr=0.1, weight_decay=0.0)
        for group in optimizer.param_groups:
            group["fused"] = fused if not is_saved else None if fused else True
        if is_saved:
            net(torch.ones(1, 3)).sum().backward()
            optimizer.step()
            states = [net.state_dict(), optimizer.state_dict()]
        else:
            load_states(net, optimizer, *states)
    assert {group["fused"] for group in optimizer.param_groups} == {fused}
    assert optimizer.state_dict()["state"].keys() == states[1]["state"].keys()
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()


@pytest.mark.parametrize(("is_sharded", "fused"), [(True, None), (False, True)])
def test_sgd_is_not_one_kernel_for_shards(monkeypatch, is_sharded, fused):
    # As on a GPU.
    weight = SimpleNamespace(requires_grad=True, ndim=2, shape=(2, 2))
    weight.device = SimpleNamespace(type="cuda")
    if is_sharded:
        weight.full_tensor = None
    monkeypatch.setattr(torch.optim, "SGD", lambda groups, **options: options)
    task = SimpleNamespace(named_parameters=lambda: [("weight", weight)])
    options = build_optimizer(task, name="sgd", base_lr=0.1, weight_decay=0.0)
    assert options["fused"] is fused
