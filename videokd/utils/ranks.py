"""Sum and broadcast over the ranks of a training; without effect if there is only one."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def num_ranks() -> int:
    """Return the number of ranks of the training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(value: Tensor) -> Tensor:
    """Return the sum of ``value`` over all ranks, bitwise equal on each rank, without gradient.

    All ranks must call this with tensors of the same shape.
    """
    total = value.detach().clone()
    if num_ranks() > 1:
        dist.all_reduce(total)
    return total


def broadcast_from_first(value: Tensor) -> Tensor:
    """Return rank 0's ``value`` on every rank, without gradient.

    All ranks must call this with tensors of the same shape.
    """
    first = value.detach().clone()
    if num_ranks() > 1:
        dist.broadcast(first, src=0)
    return first


class SumOverRanks(torch.autograd.Function):
    """Differentiable sum over all ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        """Return the sum over all ranks of ``value``, of any shape that is equal on all ranks."""
        return sum_over_ranks(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Return the sum over all ranks of the gradient."""
        return sum_over_ranks(grads[0])
