"""Sums over the processes of one training. In a training of one process they change nothing."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def num_ranks() -> int:
    """Return how many processes share the training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(value: Tensor) -> Tensor:
    """Return the sum over all ranks of ``value``, the same bits on each, without gradient.

    All ranks must call it, with one shape.
    """
    total = value.detach().clone()
    if num_ranks() > 1:
        dist.all_reduce(total)
    return total


def broadcast_from_first(value: Tensor) -> Tensor:
    """Return rank 0's ``value`` on every rank, without gradient.

    All ranks must call it, with one shape.
    """
    first = value.detach().clone()
    if num_ranks() > 1:
        dist.broadcast(first, src=0)
    return first


class SumOverRanks(torch.autograd.Function):
    """The sum over all ranks with its gradient, which is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        """Sum the values (any shape, the same on all ranks)."""
        return sum_over_ranks(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Sum the gradients."""
        return sum_over_ranks(grads[0])
