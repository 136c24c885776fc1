"""Sharded training: each rank keeps its shard of every weight, gradient and optimizer moment.

torch's FSDP2 gathers the weights of a block for its forward and again for its backward, and gives
each rank its shard of the mean gradient. Parameters, their gradients and their optimizer state are
then sharded tensors (DTensor); buffers and frozen networks are whole on every rank. Checkpoints
hold whole tensors, so that a training can resume with or without shards, and with any number of
ranks.
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
    """Callable task whose parameters are sharded over the ranks in place.

    Create it before the optimizer, which holds references to the parameters. All parameters become
    contiguous, because FSDP2 does not support channels_last_3d. With gradient accumulation,
    gradients are reduced after each part of a step; otherwise each rank would hold the whole
    gradient between parts.

    Args:
        task: Task to train, on its device. All ranks start with the same weights, and in each step
            the same parameters must get a gradient on all ranks; otherwise FSDP2 mixes up
            parameters.
        model: Model of the task, to copy as a whole for evaluation.
        blocks: Modules in the task that use their weights only inside their forward call. The
            weights of one block are gathered at a time; weights outside of all blocks stay gathered
            for the whole step.
        frozen: Modules in the model whose weights never change.
    """

    model: nn.Module
    """Copy of the model with its own buffers and frozen modules; it has weights inside ``whole``.

    Each rank may call it any number of times. The model itself must not be called: FSDP2 takes
    every call for a part of the next step, and ranks that expect different steps wait for each
    other.
    """

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
        """Call the task, see ``videokd.engine.task``."""
        output: StepOutput = self._root(batch, progress)[1]
        return output

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gather the weights of ``model`` in the context; all ranks enter it, between steps."""
        with torch.no_grad():
            for module, copied in self._pairs:
                copied._buffers = module._buffers  # training may replace some buffers
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
    """Return whether a value is a sharded tensor."""
    # isinstance would need DTensor, whose import takes a second, and most trainings have no shards.
    return hasattr(value, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """Return this rank's shard of a tensor, or the tensor itself if it is not sharded."""
    sharded: Any = tensor
    return sharded.to_local() if is_in_shards(tensor) else tensor


def join_shards(state: Any, *, is_kept: bool) -> Any:
    """Return a state with whole tensors on the CPU in place of sharded ones.

    All ranks must call it.

    Args:
        state: Any state; mappings and lists are traversed.
        is_kept: Whether this rank needs the result. If not, sharded tensors become None.
    """
    if is_in_shards(state):
        whole = state.full_tensor()  # one tensor at a time saves memory
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
    """Load whole state dicts, equal on all ranks, into a training with or without shards.

    The optimizer keeps its own ``fused`` option, which depends on the device: the moments may have
    been saved on another one.

    Args:
        task: Task to train.
        optimizer: Optimizer of the task's parameters.
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
    """Return the L2 norms of whole tensors, as ``stack_norms``, also for sharded tensors.

    With sharded tensors, all ranks must call it.
    """
    norms = stack_norms([local(tensor) for tensor in tensors], device=device)
    if not any(map(is_in_shards, tensors)):
        return norms
    return sum_over_ranks(norms**2).sqrt()


class _Root(nn.Module):
    """Wrapper that returns the loss outside of a dataclass.

    FSDP2 searches the output for tensors, and some torch versions do not search dataclasses.
    """

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
    """Return the sharded parameters of the module itself, without its submodules."""
    return [(name, value) for name, value in module._parameters.items() if is_in_shards(value)]


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    module._parameters[name] = nn.Parameter(value, requires_grad=False)


def _cut(value: Any, owner: Any) -> Any:
    """Return this rank's shard of a whole tensor if ``owner``, of the same shape, is sharded."""
    if not is_in_shards(owner) or getattr(value, "shape", None) != owner.shape:
        return value  # for example a step count
    from torch.distributed.tensor import distribute_tensor

    # Every rank has the whole tensor, so nothing is sent.
    return distribute_tensor(
        value.to(owner.device), owner.device_mesh, owner.placements, src_data_rank=None
    )
