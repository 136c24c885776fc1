"""Processes (ranks) that share one training, as started by ``torchrun`` or SLURM.

Each rank takes its part of each batch. All ranks do the same steps, decide together and stop
together, and only rank 0 writes. Decisions are exchanged over gloo between CPUs, so that they never
wait for a GPU; tensors of the training are exchanged over gloo or NCCL.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from videokd.data.batch import BadVideo, ClipBatch
from videokd.engine.stop import Stopped
from videokd.engine.sync_norm import SyncedBatchNorm
from videokd.engine.watchdog import Watchdog
from videokd.utils.errors import InputError, RunError
from videokd.utils.ranks import RankInfo, read_rank, sum_over_ranks

T = TypeVar("T")

# Distance between the seeds of two ranks. The CPU generator uses only the lower 32 bits of a seed.
_RANK_STRIDE = 2654435769

# Long limit, because one rank generates and pre-decodes data while the others wait.
_PREPARING_LIMIT = timedelta(hours=24)


@dataclass(frozen=True)
class StepPart:
    """Part of a step on this rank, with the information that it needs about the other ranks."""

    batch: ClipBatch
    bad: tuple[BadVideo, ...]
    """Unreadable videos of all ranks, in the order of the ranks."""
    is_usable: bool
    """Whether every rank has at least the two clips that batch norm needs; equal on all ranks."""


class Ranks:
    """All ranks of a training. Without arguments there is one rank, and no communication.

    All ranks must call every method but ``wrap`` together. Otherwise they wait for each other until
    the timeout.

    Args:
        info: Rank and number of ranks of this process.
        control: Process group for decisions, over the CPU; None with one rank.
        waiting: Process group like ``control``, with a long timeout.
        watchdog: Watchdog that ends this process when it hangs.
    """

    def __init__(
        self,
        info: RankInfo = RankInfo(),  # noqa: B008  (it is frozen)
        *,
        control: dist.ProcessGroup | None = None,
        waiting: dist.ProcessGroup | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.info = info
        self._control = control
        self._waiting = waiting
        self._watchdog = watchdog

    @property
    def num_ranks(self) -> int:
        """Number of ranks."""
        return self.info.num_ranks

    @property
    def rank(self) -> int:
        """Number of this rank, from 0."""
        return self.info.rank

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the only rank that writes."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is only one rank."""
        return self.num_ranks == 1

    def wrap(self, task: nn.Module) -> nn.Module:
        """Return a callable to use instead of ``task``, whose gradients are means over the ranks.

        Frozen networks are hidden from their tasks' parameters: they are neither broadcast nor
        reduced.
        """
        if self.is_alone:
            return task
        with warnings.catch_warnings():
            # torch 2.14 renames ``broadcast_buffers``, and torch 2.10 does not have the new name.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                task,
                # Norm statistics are averaged by ``average_statistics``; all other buffers are
                # equal.
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )

    def unshared(self, wrapped: object) -> AbstractContextManager[object]:
        """Return a context in which the wrapped task keeps its gradients on this rank."""
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()

    def alive(self) -> None:
        """Reset the watchdog of this rank."""
        if self._watchdog is not None:
            self._watchdog.alive()

    def watched(self) -> AbstractContextManager[object]:
        """Return a context in which this process ends if ``alive`` is not called in time."""
        return nullcontext() if self._watchdog is None else self._watchdog

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return, for each flag, whether it is true on any rank."""
        if self.is_alone:
            return flags
        totals = self._sum_numbers([float(flag) for flag in flags])
        return tuple(total > 0 for total in totals)

    def lowest(self, value: int) -> int:
        """Return the lowest ``value`` of all ranks."""
        if self.is_alone:
            return value
        lowest = torch.tensor(value)
        with _explained():
            dist.all_reduce(lowest, dist.ReduceOp.MIN, group=self._control)
        return int(lowest)

    def agree(self, flag: Tensor) -> Tensor:
        """Return whether ``flag``, a bool scalar on the device, is true on all ranks.

        The result stays on the device, so nothing waits for it.
        """
        if self.is_alone:
            return flag
        lowest = flag.float()
        with _explained():
            dist.all_reduce(lowest, dist.ReduceOp.MIN)
        return lowest > 0

    def gather(self, value: T) -> list[T]:
        """Return the ``value`` of each rank, a plain Python or NumPy value, by rank."""
        if self.is_alone:
            return [value]
        values: list[Any] = [None] * self.num_ranks
        with _explained():
            dist.all_gather_object(values, value, group=self._control)
        return values

    def broadcast(self, value: T) -> T:
        """Return rank 0's value."""
        if self.is_alone:
            return value
        values = [value]
        with _explained():
            dist.broadcast_object_list(values, src=0, group=self._control)
        return values[0]

    def check_equal(self, value: T, what: str) -> None:
        """Check that all ranks have the same value.

        Raises:
            InputError: The values differ, for example because each machine has its own files.
        """
        values = self.gather(value)
        if any(other != value for other in values):
            raise InputError(
                f"the ranks differ in {what}: {values}; all machines must see the same files"
            )

    def wait(self) -> None:
        """Wait until all ranks have called this method."""
        self.any(False)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Run the body on rank 0, and then on the other ranks, which find the files of rank 0.

        Raises:
            Stopped: The body was stopped on rank 0.
        """
        if self.is_alone:
            yield
            return
        is_stopped = False
        if self.is_first:
            try:
                yield
            except Stopped:
                is_stopped = True
        with _explained():
            dist.barrier(group=self._waiting)
        if any(self.any(is_stopped)):
            raise Stopped
        if not self.is_first:
            yield

    def seed_step(self, seed: int, step: int) -> None:
        """Seed the generators by (seed, step, rank), independently of earlier draws.

        Rank 0 has the seed that a training with one rank uses for the whole batch.
        """
        torch.manual_seed(seed * 1_000_003 + step + self.rank * _RANK_STRIDE)

    def share_step(self, batch: ClipBatch) -> StepPart:
        """Exchange this rank's dataset ids and unreadable videos of a step with the other ranks.

        Args:
            batch: This rank's part of the batch, on the CPU.

        Returns:
            The batch with the dataset ids of all ranks, and the unreadable videos of all ranks.
        """
        self.alive()
        if self.is_alone:
            return StepPart(batch, batch.bad, len(batch) > 1)
        parts = self.gather((batch.dataset_ids.tolist(), batch.bad))
        whole_ids = torch.tensor([i for ids, _ in parts for i in ids], dtype=torch.int64)
        bad = tuple(video for _, videos in parts for video in videos)
        is_usable = all(len(ids) > 1 for ids, _ in parts)
        return StepPart(replace(batch, whole_ids=whole_ids), bad, is_usable)

    @torch.no_grad()
    def average_statistics(self, task: nn.Module) -> None:
        """Average the running statistics of plain batch norms over the ranks.

        Each rank normalises with the statistics of its own clips. Running statistics are linear in
        the batch statistics. The averaged variances lack the variance between the ranks' means,
        which TRAIN.SYNC_BN includes.
        """
        if self.is_alone:
            return
        norms = [m for m in task.modules() if isinstance(m, _BatchNorm) and m.training]
        kept = [
            cast(Tensor, value)
            for norm in norms
            if norm.track_running_stats and not isinstance(norm, SyncedBatchNorm)
            for value in (norm.running_mean, norm.running_var)
        ]
        if not kept:
            return
        with _explained():
            means = sum_over_ranks(torch.cat([value.flatten() for value in kept])) / self.num_ranks
        for value, mean in zip(kept, means.split([v.numel() for v in kept]), strict=True):
            value.copy_(mean.view_as(value))

    def _sum_numbers(self, numbers: list[float]) -> list[float]:
        values = torch.tensor(numbers, dtype=torch.float64)
        with _explained():
            dist.all_reduce(values, group=self._control)
        return values.tolist()


ONE_RANK = Ranks()


@contextmanager
def join_ranks(device: torch.device, *, timeout_sec: float) -> Iterator[Ranks]:
    """Connect to the other ranks of this training, and disconnect at the end.

    Args:
        device: Device of this process; several ranks use NCCL on CUDA and gloo on the CPU. A CUDA
            device becomes torch's current one.
        timeout_sec: Longest wait for another rank.

    Raises:
        RunError: The other ranks do not connect in time.
    """
    info = read_rank()
    if device.type == "cuda":
        # torch uses the current device for streams, events and memory without an explicit device.
        torch.cuda.set_device(device)
    if info.num_ranks == 1:
        yield ONE_RANK
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    # Collectives time out after the watchdog, so that the watchdog prints the stacks first.
    limit = timedelta(seconds=2 * timeout_sec)
    with _explained():
        store, rank, num_ranks = next(dist.rendezvous("env://", timeout=limit))
        # When torchrun restarts all ranks, it may keep its store with the addresses of the old
        # ranks (pytorch/pytorch#135712).
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        dist.init_process_group(
            backend,
            store=dist.PrefixStore(f"attempt-{attempt}", store),
            rank=rank,
            world_size=num_ranks,
            timeout=limit,
        )
        control = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=limit))
        waiting = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=_PREPARING_LIMIT))
    name = f"rank {info.rank} of {info.num_ranks}"
    try:
        yield Ranks(info, control=control, waiting=waiting, watchdog=Watchdog(timeout_sec, name))
    except Stopped:
        dist.destroy_process_group()
        raise
    # Skipped after an error: other ranks may be gone, and disconnecting could wait for them.
    dist.destroy_process_group()


@contextmanager
def explain_lost_ranks(ranks: Ranks) -> Iterator[None]:
    """Raise RunError if the body fails because a rank is gone, for example in a backward."""
    if ranks.is_alone:
        yield
        return
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, RunError) or not _is_of_connection(error):
            raise
        raise _lost(error) from error


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _lost(error) from error


def _lost(error: RuntimeError) -> RunError:
    first = str(error).splitlines()[0]
    return RunError(
        f"another rank is gone, or did not answer in time ({first:.200}); its own last lines say "
        "why. Run the same command again to go on"
    )


def _is_of_connection(error: RuntimeError) -> bool:
    # Gloo has no error class of its own: a lost peer is a RuntimeError raised in its sources.
    text = str(error)
    return isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text
