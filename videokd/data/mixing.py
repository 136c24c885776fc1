"""Which record comes at which place of a run, over one or several datasets.

Everything is a function of (seed, step): no state to save, the same on every worker and after a
restart.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from videokd.data.batch import ClipRequest
from videokd.utils.errors import InputError

MIXES = ("proportional", "balanced")


class BatchPlan:
    """The batches of a whole run.

    "proportional": an epoch is one permutation of all records of all datasets. "balanced": every
    dataset has an equal share of each batch (what does not divide rotates over the datasets); a
    dataset is shuffled anew whenever it is used up. With either, an epoch has
    sum(dataset_sizes) // batch_size steps and incomplete batches are dropped.

    Args:
        dataset_sizes: Records in each dataset, all > 0.
        batch_size: Clips in a batch, over all datasets, > 0.
        seed: Seed of all permutations.
        mix: "proportional" or "balanced".

    Raises:
        InputError: a number is not positive, mix is unknown, or an epoch would have no step.
    """

    def __init__(
        self, dataset_sizes: Sequence[int], *, batch_size: int, seed: int, mix: str = "proportional"
    ) -> None:
        if not dataset_sizes or min(dataset_sizes) <= 0:
            raise InputError(f"dataset sizes must all be > 0, got {list(dataset_sizes)}")
        if mix not in MIXES:
            raise InputError(f"mix must be one of {', '.join(MIXES)}, got {mix!r}")
        if not 0 < batch_size <= sum(dataset_sizes):
            raise InputError(
                f"batch_size must be 1 .. {sum(dataset_sizes)} (the number of training videos), "
                f"got {batch_size}"
            )
        self._sizes = tuple(dataset_sizes)
        self._batch_size = batch_size
        self._seed = seed
        self._mix = mix

    @property
    def num_steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return sum(self._sizes) // self._batch_size

    def batch(self, step: int) -> list[ClipRequest]:
        """Compute the batch of a step.

        Args:
            step: Counted over the whole run, from 0.

        Returns:
            batch_size requests.
        """
        epoch, step_in_epoch = divmod(step, self.num_steps_per_epoch)
        first = step_in_epoch * self._batch_size
        pairs = (
            self._proportional_batch(epoch, first)
            if self._mix == "proportional"
            else self._balanced_batch(step)
        )
        return [
            ClipRequest(dataset_id, record_id, epoch, first + slot)
            for slot, (dataset_id, record_id) in enumerate(pairs)
        ]

    def _proportional_batch(self, epoch: int, first: int) -> list[tuple[int, int]]:
        order = _permutation(self._seed, 0, epoch, sum(self._sizes))
        chosen = order[first : first + self._batch_size]
        ends = np.cumsum(self._sizes)
        dataset_ids = np.searchsorted(ends, chosen, side="right")
        starts = ends - np.asarray(self._sizes)
        record_ids = chosen - starts[dataset_ids]
        return list(zip(dataset_ids.tolist(), record_ids.tolist(), strict=True))

    def _balanced_batch(self, step: int) -> list[tuple[int, int]]:
        pairs: list[tuple[int, int]] = []
        for dataset_id, size in enumerate(self._sizes):
            first, stop = self._num_drawn(dataset_id, step), self._num_drawn(dataset_id, step + 1)
            for draw in range(first, stop):
                lap, place = divmod(draw, size)
                order = _permutation(self._seed, dataset_id + 1, lap, size)
                pairs.append((dataset_id, int(order[place])))
        return pairs

    def _num_drawn(self, dataset_id: int, step: int) -> int:
        """Count the records of a dataset in all balanced batches before a step.

        Places that do not divide are numbered through the run and dealt in turn: place e goes to
        dataset e % num_datasets.
        """
        num_datasets = len(self._sizes)
        share, remainder = divmod(self._batch_size, num_datasets)
        num_dealt = step * remainder
        return step * share + (num_dealt + num_datasets - 1 - dataset_id) // num_datasets


class PlanSampler(Sampler[list[ClipRequest]]):
    """The batches of a plan from one step on, for DataLoader(batch_sampler=...).

    Args:
        plan: The batches.
        start_step: First step, counted over the whole run.
        num_steps: How many batches to give.
    """

    def __init__(self, plan: BatchPlan, start_step: int, num_steps: int) -> None:
        self._plan = plan
        self._steps = range(start_step, start_step + num_steps)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        for step in self._steps:
            yield self._plan.batch(step)

    def __len__(self) -> int:
        return len(self._steps)


# Neighbouring steps share their permutations; a few datasets are in use at a time.
@lru_cache(maxsize=32)
def _permutation(seed: int, stream: int, lap: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, stream, lap]).permutation(size)
