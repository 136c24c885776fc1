"""Counters of the operations of a training step and of the memory that it keeps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    conv_flop_count,
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from videokd.models.frozen import Frozen


class FlopCounter(TorchDispatchMode):
    """Counter of a step's operations, and of those in forwards without gradient.

    torch's FlopCounterMode assigns operations to modules of one module tree, which does not contain
    the frozen networks.

    Attributes:
        total: Operations, 2 per multiply-add, of matrix products and convolutions.
        frozen: Part of ``total`` that ran without gradient while ``is_forward`` was True.
        is_forward: Set to False before the backward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.frozen = 0
        self.is_forward = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        flops = _count_flops(func._overloadpacket, args, kwargs, result)
        if flops:
            self.total += flops
            if self.is_forward and not torch.is_grad_enabled():
                self.frozen += flops
        return result


def _count_flops(op: Any, args: tuple[Any, ...], kwargs: Any, result: Any) -> int:
    # torch's table lacks the attention kernels of the CPU.
    if op is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
        return int(sdpa_flop_count(*(tensor.shape for tensor in args[:3])))
    if op is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return int(sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4])))
    if op is torch.ops.aten.convolution_backward:
        # torch's table counts the backward of grouped convolutions as if they were ungrouped. Each
        # of the two gradients costs as much as the forward.
        forward = conv_flop_count(args[1].shape, args[2].shape, args[0].shape, args[7])
        return int(forward) * sum(args[10][:2])
    count = flop_registry.get(op)
    return 0 if count is None else int(count(*args, **kwargs, out_val=result))


class KeptBytes:
    """Counter of the bytes that a forward keeps for the backward, without weights and buffers.

    Args:
        task: Module whose forward is watched.

    Attributes:
        num_bytes: Bytes of kept activations; every storage counts once.
        num_cast_bytes: Bytes of weights cast by autocast.
    """

    def __init__(self, task: nn.Module) -> None:
        every = all_tensors(task)
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in every}
        # Under autocast the backward needs cast copies of the weights, whatever the batch size.
        self._weight_shapes = {tuple(tensor.shape) for tensor in every if tensor.ndim > 1}
        # The storages are kept alive so that no address is reused.
        self._storages: list[Any] = []
        self.num_bytes = 0
        self.num_cast_bytes = 0

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count the tensors that forwards in the body keep; the counts grow with each call."""
        with torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor):
            yield
        self._storages.clear()

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._storages.append(storage)
            shape = tuple(tensor.shape)
            if shape in self._weight_shapes or shape[::-1] in self._weight_shapes:
                self.num_cast_bytes += storage.nbytes()
            else:
                self.num_bytes += storage.nbytes()
        return tensor


def all_tensors(module: nn.Module) -> list[Tensor]:
    """List parameters and buffers without duplicates, including hidden frozen networks."""
    found = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    for child in module.modules():
        if isinstance(child, Frozen):
            found |= {id(tensor): tensor for tensor in all_tensors(child.module)}
    return list(found.values())
