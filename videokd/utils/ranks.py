"""Ranks of a training: position from the environment, sums and broadcasts over all of them."""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from videokd.utils.errors import InputError

_KEYS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class RankInfo:
    """Position of this process among the ranks of the training."""

    rank: int = 0
    num_ranks: int = 1
    local_rank: int = 0
    """Rank among the processes of this machine; also the index of its GPU."""
    num_local_ranks: int = 1


def read_rank() -> RankInfo:
    """Return the rank and number of ranks from the environment, or one rank if it names none.

    Raises:
        InputError: Only some of the required variables are set.
    """
    if "WORLD_SIZE" not in os.environ and "RANK" not in os.environ:
        return RankInfo()
    missing = [key for key in _KEYS if not os.environ.get(key)]
    if missing:
        raise InputError(
            f"the environment has RANK or WORLD_SIZE but no {', '.join(missing)}; start with "
            "torchrun, or unset them to train in one process"
        )
    rank, num_ranks, local = (int(os.environ[key]) for key in _KEYS[:3])
    num_local = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1))
    return RankInfo(rank, num_ranks, local, num_local)


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
