"""A training in shards: each rank keeps its part of every weight, gradient and moment.

torch's FSDP2 puts the weights of a block together for its forward and again for its backward, and
gives each rank its part of the mean gradient. Parameters are tensors in shards (DTensor) then, and
so are their gradients and what the optimizer keeps of them; buffers and frozen networks are on
every rank as a whole. What is read from or written to a checkpoint is whole, so that a training
goes on with or without shards, and with any number of ranks.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from videokd.engine.buffers import stack_norms
from videokd.engine.task import StepOutput
from videokd.utils.ranks import num_ranks, sum_over_ranks


class Sharding:
    """Shares out the parameters of a task over the ranks, in place, and calls it.

    To be made before the optimizer, which keeps parameters. They are contiguous afterwards, also
    where they were channels_last_3d: FSDP2 knows no other layout. The gradient of each part of an
    accumulated step is sent: else each rank would keep the whole one from part to part.

    Args:
        task: What is trained, on its device. All ranks begin with the same weights, and in every
            step the same parameters get a gradient on all of them: FSDP2 would mix up others.
        model: Of the task, to be looked at as a whole.
        blocks: Modules in the task that do all of their work when they are called. The weights of
            one of them are put together at a time, and those of no block for the whole step.
        frozen: Modules in the model whose weights never change.
    """

    model: nn.Module
    """A copy of the model with its own buffers and frozen modules, and weights inside ``whole``.

    It may be called any number of times on each rank. The model itself may not: FSDP2 takes every
    call for a part of the next step, and ranks that expect different ones wait for each other."""

    def __init__(
        self,
        task: nn.Module,
        model: nn.Module,
        *,
        blocks: Sequence[nn.Module] = (),
        frozen: Sequence[nn.Module] = (),
    ) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        for parameter in task.parameters():
            parameter.data = parameter.data.contiguous()
        self.model = _copy_without_weights(model, frozen)
        self._pairs = list(zip(model.modules(), self.model.modules(), strict=True))
        device = next(task.parameters()).device
        mesh = init_device_mesh(device.type, (num_ranks(),))
        for block in blocks:
            fully_shard(block, mesh=mesh)
        self._root = _Root(task)
        fully_shard(self._root, mesh=mesh)

    def __call__(self, batch: Any, progress: float) -> StepOutput:
        """Call the task, as ``videokd.engine.task`` says."""
        output: StepOutput = self._root(batch, progress)[1]
        return output

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Let ``model`` have its weights inside. All ranks must come to it, between two steps."""
        with torch.no_grad():
            for module, copied in self._pairs:
                copied._buffers = module._buffers  # some are replaced by others in training
                for name, value in _shards(module):
                    _set(copied, name, value.full_tensor())
                if type(module).get_extra_state is not nn.Module.get_extra_state:
                    copied.set_extra_state(module.get_extra_state())
        try:
            yield
        finally:
            for module, copied in self._pairs:
                for name, value in _shards(module):
                    _set(copied, name, torch.empty(value.shape, device="meta"))


def is_in_shards(value: Any) -> bool:
    """Say whether a value is a tensor of which each rank has a part."""
    # Not by its class, DTensor: importing that takes a second, and most trainings have none.
    return hasattr(value, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """Return what this rank has of a tensor: its shard, or all of one that is not in shards."""
    sharded: Any = tensor
    return sharded.to_local() if is_in_shards(tensor) else tensor


def join_shards(state: Any, *, is_kept: bool) -> Any:
    """Return a state dict with whole tensors, on the CPU, in place of those in shards.

    All ranks must call it.

    Args:
        state: Of anything; mappings and lists are looked into.
        is_kept: Whether this rank wants the result; None stands for such tensors where not.
    """
    if is_in_shards(state):
        whole = state.full_tensor()  # one after the other, which takes the memory of one
        return whole.cpu() if is_kept else None
    if isinstance(state, Mapping):
        return {key: join_shards(value, is_kept=is_kept) for key, value in state.items()}
    if isinstance(state, list):
        return [join_shards(value, is_kept=is_kept) for value in state]
    return state


def load_states(
    task: nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, Tensor],
    moments: Mapping[str, Any],
) -> None:
    """Load whole state dicts, the same ones on all ranks, into a training in shards or in none.

    Whether the optimizer is fused stays its own choice, which depends on the device: the moments
    may have been saved on another one.

    Args:
        task: What is trained.
        optimizer: Over its parameters.
        weights: State dict of the task.
        moments: State dict of the optimizer.
    """
    own = task.state_dict()
    task.load_state_dict({name: _cut(value, own.get(name)) for name, value in weights.items()})
    owners = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = {
        number: {name: _cut(value, owners[number]) for name, value in values.items()}
        for number, values in moments["state"].items()
    }
    groups = [
        {**theirs, "fused": own_group.get("fused")}
        for theirs, own_group in zip(moments["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({"state": kept, "param_groups": groups})


def stack_whole_norms(tensors: list[Tensor], *, device: torch.device | None = None) -> Tensor:
    """Return what ``stack_norms`` does, of whole tensors also where each rank has a shard of them.

    All ranks must call it then.
    """
    norms = stack_norms([local(tensor) for tensor in tensors], device=device)
    if not any(map(is_in_shards, tensors)):
        return norms
    return sum_over_ranks(norms**2).sqrt()


class _Root(nn.Module):
    """What FSDP2 looks for tensors in the result of: not every torch looks into dataclasses."""

    def __init__(self, task: nn.Module) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Any, progress: float) -> tuple[Tensor, StepOutput]:
        output: StepOutput = self.task(batch, progress)
        return output.loss, output


def _copy_without_weights(model: nn.Module, frozen: Sequence[nn.Module]) -> nn.Module:
    known: dict[int, Any] = {id(each): each for each in (*model.buffers(), *frozen)}
    for value in model.parameters():
        known[id(value)] = nn.Parameter(torch.empty_like(value, device="meta"), requires_grad=False)
    return deepcopy(model, known)


def _shards(module: nn.Module) -> list[tuple[str, Any]]:
    """Return the module's own parameters in shards."""
    return [(name, value) for name, value in module._parameters.items() if is_in_shards(value)]


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    module._parameters[name] = nn.Parameter(value, requires_grad=False)


def _cut(value: Any, owner: Any) -> Any:
    """Return this rank's shard of a whole tensor where ``owner``, of its shape, is in shards."""
    if not is_in_shards(owner) or getattr(value, "shape", None) != owner.shape:
        return value  # such as a count of steps
    from torch.distributed.tensor import distribute_tensor

    # Every rank has read the whole: nothing is sent.
    return distribute_tensor(
        value.to(owner.device), owner.device_mesh, owner.placements, src_data_rank=None
    )
