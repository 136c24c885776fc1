"""Batch plan: the training record at each position of a run, over one or several datasets.

Everything is a function of (seed, step), so there is no state to save, and all workers and restarts
see the same plan.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from videokd.data.batch import ClipRequest
from videokd.utils.errors import InputError

MIXES = ("proportional", "balanced", "temperature")


class BatchPlan:
    """Batches of a whole run.

    The run repeats one round of requests, in which dataset i has c_i requests, evenly spaced:

    - "proportional": c_i = n_i, the number of its records.
    - "balanced": c_i = 1.
    - "temperature": c_i ~ n_i^(1/temperature), rounded, with sum(n_i) requests in a round.
      temperature=1 keeps the proportional shares; larger values make them more equal.

    So all batches hold nearly the same share of each dataset. The requests for a dataset go through
    a permutation of its records, and through a new one when all have been used.

    An epoch always has sum(dataset_sizes) // batch_size steps: it counts (nearly) as many clips as
    there are records, whichever datasets they come from.

    With repeats = k (Hoffer et al. 2020; Berman et al. 2019) each request is for k clips of one
    video, which are adjacent in the batch; batch_size still counts clips. The number of steps per
    epoch does not change, so each epoch visits one video in k, and k epochs visit them all.

    Args:
        dataset_sizes: Records in each dataset, all > 0.
        batch_size: Clips in a batch, over all datasets and ranks, > 0.
        seed: Seed of all permutations.
        mix: One of ``MIXES``.
        temperature: Temperature of the mix "temperature", >= 1.
        repeats: Clips of one video in a batch, > 0; must divide batch_size.

    Raises:
        InputError: a number is out of its range, mix is unknown, or an epoch would have no step.
    """

    def __init__(
        self,
        dataset_sizes: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        mix: str = "proportional",
        temperature: float = 1.0,
        repeats: int = 1,
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
        if not temperature >= 1:
            raise InputError(f"temperature must be >= 1, got {temperature}")
        if repeats <= 0 or batch_size % repeats:
            raise InputError(f"repeats must divide the batch_size {batch_size}, got {repeats}")
        self._sizes = tuple(dataset_sizes)
        self._batch_size = batch_size
        self._seed = seed
        self._repeats = repeats
        self._num_requests = batch_size // repeats
        self._counts = _count_requests(dataset_sizes, mix, temperature)
        self._dataset_ids, self._numbers = _interleave(self._counts)

    @property
    def num_steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return sum(self._sizes) // self._batch_size

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the clips that come from each dataset."""
        return tuple(count / sum(self._counts) for count in self._counts)

    def batch(self, step: int, rank: int = 0, num_ranks: int = 1) -> list[ClipRequest]:
        """Compute the batch of a step, or a rank's part of it.

        Args:
            step: Step of the whole run, from 0.
            rank: 0 .. num_ranks - 1. The parts of all ranks, one after the other, are the batch.
            num_ranks: Processes that share the batch; must divide its number of requests.

        Returns:
            batch_size / repeats / num_ranks requests.

        Raises:
            InputError: the ranks do not divide the requests.
        """
        if self._num_requests % num_ranks or not 0 <= rank < num_ranks:
            raise InputError(
                f"rank {rank} of {num_ranks} has no equal part of a batch of {self._num_requests} "
                f"videos; choose a batch size that {num_ranks} divides"
            )
        epoch, step_in_epoch = divmod(step, self.num_steps_per_epoch)
        share = self._num_requests // num_ranks
        return [
            ClipRequest(
                *self._find_record(step * self._num_requests + place),
                epoch,
                step_in_epoch * self._batch_size + place * self._repeats,
                self._repeats,
            )
            for place in range(rank * share, (rank + 1) * share)
        ]

    def _find_record(self, place: int) -> tuple[int, int]:
        """Return (dataset_id, record_id) of the request at a place of the run."""
        num_rounds, slot = divmod(place, len(self._dataset_ids))
        dataset_id = int(self._dataset_ids[slot])
        size = self._sizes[dataset_id]
        number = num_rounds * self._counts[dataset_id] + int(self._numbers[slot])
        num_passes, position = divmod(number, size)
        order = _permutation(self._seed, dataset_id, num_passes, size)
        return dataset_id, int(order[position])


class PlanSampler(Sampler[list[ClipRequest]]):
    """Batches of a plan from a given step on, for `loader.iterate_batches`.

    Args:
        plan: The batches.
        start_step: First step, counted over the whole run.
        num_steps: Number of batches.
        rank: Rank whose part of each batch is yielded, see ``BatchPlan.batch``.
        num_ranks: Number of ranks.
    """

    def __init__(
        self,
        plan: BatchPlan,
        start_step: int,
        num_steps: int,
        *,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        self._plan = plan
        self._place = (rank, num_ranks)
        self._steps = range(start_step, start_step + num_steps)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        for step in self._steps:
            yield self._plan.batch(step, *self._place)

    def __len__(self) -> int:
        return len(self._steps)


def _count_requests(sizes: Sequence[int], mix: str, temperature: float) -> list[int]:
    """Return the number of requests for each dataset in a round, all > 0."""
    if mix == "proportional":
        return list(sizes)
    if mix == "balanced":
        return [1] * len(sizes)
    weights = (np.asarray(sizes) / max(sizes)) ** (1 / temperature)
    counts: list[int] = np.rint(weights * (sum(sizes) / weights.sum())).astype(int).tolist()
    return counts


def _interleave(counts: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Space the requests for each dataset evenly over a round, and merge them.

    Request k of the c_i for dataset i stands at (k + 1/2) / c_i of the round; where two stand at
    the same point, the earlier dataset comes first.

    Returns:
        For each place of the round, the dataset and the number k of the request.
    """
    numbers = np.concatenate([np.arange(count) for count in counts])
    dataset_ids = np.repeat(np.arange(len(counts)), counts)
    points = (numbers + 0.5) / np.asarray(counts)[dataset_ids]
    order = np.argsort(points, kind="stable")
    return dataset_ids[order], numbers[order]


# Neighbouring steps share permutations, and only a few datasets are in use at a time.
@lru_cache(maxsize=32)
def _permutation(seed: int, dataset_id: int, num_passes: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, dataset_id, num_passes]).permutation(size)
