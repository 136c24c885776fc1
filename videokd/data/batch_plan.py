"""Batch plan: the training record at each position of a run, over one or several datasets.

Everything is a function of (seed, step), so there is no state to save, and all workers and restarts
see the same plan.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from videokd.data.batch import ClipRequest
from videokd.utils.errors import InputError

MIXES = ("proportional", "balanced", "temperature", "round_robin")

# Position e of a run has the point frac(e / golden ratio) on a circle of 2**32 points (Weyl's
# sequence). Consecutive points are evenly spread, from any start.
_CIRCLE = 2**32
_GOLDEN_STEP = 2654435769


class BatchPlan:
    """Batches of a whole run.

    - "proportional": an epoch is one permutation of all records of all datasets.
    - "balanced": every dataset has an equal share of each batch (the remainder rotates over the
      datasets).
    - "temperature": dataset i with n_i records has a share p_i ~ n_i^(1/temperature) of the run,
      and nearly the same share of each batch. temperature=1 keeps the proportional shares; larger
      values make them more equal. The datasets alternate within a batch.
    - "round_robin": every batch comes from one dataset, at step s from s % num_datasets.

    Except with "proportional", each dataset is reshuffled only when all its records have been
    used. An epoch always has sum(dataset_sizes) // batch_size steps, and incomplete batches are
    dropped: an epoch counts as many clips as there are records, whichever datasets they come from.

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
        self._mix = mix
        self._repeats = repeats
        self._num_requests = batch_size // repeats
        self._borders = _share_borders(self._sizes, temperature)
        self._offset = int(np.random.default_rng([seed, len(dataset_sizes) + 1]).integers(_CIRCLE))

    @property
    def num_steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return sum(self._sizes) // self._batch_size

    def batch(self, step: int, rank: int = 0, num_ranks: int = 1) -> list[ClipRequest]:
        """Compute the batch of a step, or a rank's part of it.

        Args:
            step: Step of the whole run, from 0.
            rank: 0 .. num_ranks - 1. The parts of all ranks together are the batch.
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
        pairs = (
            self._proportional_batch(step) if self._mix == "proportional" else self._lap_batch(step)
        )
        first = step_in_epoch * self._batch_size
        requests = [
            ClipRequest(*pair, epoch, first + place * self._repeats, self._repeats)
            for place, pair in enumerate(pairs)
        ]
        # Strided, not contiguous: a balanced batch is sorted by dataset.
        return requests[rank::num_ranks]

    def _proportional_batch(self, step: int) -> list[tuple[int, int]]:
        lap, step_in_lap = divmod(step, sum(self._sizes) // self._num_requests)
        first = step_in_lap * self._num_requests
        order = _permutation(self._seed, 0, lap, sum(self._sizes))
        chosen = order[first : first + self._num_requests]
        ends = np.cumsum(self._sizes)
        dataset_ids = np.searchsorted(ends, chosen, side="right")
        starts = ends - np.asarray(self._sizes)
        record_ids = chosen - starts[dataset_ids]
        return list(zip(dataset_ids.tolist(), record_ids.tolist(), strict=True))

    def _lap_batch(self, step: int) -> list[tuple[int, int]]:
        """Return (dataset_id, record_id) pairs of a step for all mixes but "proportional"."""
        draws = {i: self._num_drawn(i, step) for i in range(len(self._sizes))}
        pairs: list[tuple[int, int]] = []
        for dataset_id in self._deal(step):
            size = self._sizes[dataset_id]
            lap, place = divmod(draws[dataset_id], size)
            order = _permutation(self._seed, dataset_id + 1, lap, size)
            pairs.append((dataset_id, int(order[place])))
            draws[dataset_id] += 1
        return pairs

    def _deal(self, step: int) -> list[int]:
        """Return the dataset of each request of a batch."""
        ids = range(len(self._sizes))
        if self._mix == "round_robin":
            return [step % len(ids)] * self._num_requests
        if self._mix == "balanced":
            counts = [self._num_drawn(i, step + 1) - self._num_drawn(i, step) for i in ids]
            return [i for i, count in zip(ids, counts, strict=True) for _ in range(count)]
        first = step * self._num_requests
        places = range(first, first + self._num_requests)
        points = [(self._offset + place * _GOLDEN_STEP) % _CIRCLE for place in places]
        return [bisect_right(self._borders, point) - 1 for point in points]

    def _num_drawn(self, dataset_id: int, step: int) -> int:
        """Count the records of a dataset in all batches before a step, in constant time.

        Round robin: all requests of one batch in num_datasets. Balanced: remainder requests are
        numbered through the run, and number e goes to dataset e % num_datasets. Temperature: the
        requests whose points lie between the borders of the dataset.
        """
        num_datasets = len(self._sizes)
        if self._mix == "round_robin":
            return (step + num_datasets - 1 - dataset_id) // num_datasets * self._num_requests
        if self._mix == "balanced":
            share, remainder = divmod(self._num_requests, num_datasets)
            num_dealt = step * remainder
            return step * share + (num_dealt + num_datasets - 1 - dataset_id) // num_datasets
        low, high = self._borders[dataset_id : dataset_id + 2]
        num_places = step * self._num_requests
        return self._count_below(high, num_places) - self._count_below(low, num_places)

    def _count_below(self, border: int, num_places: int) -> int:
        """Count how many of the first positions of the run have points below a border."""
        # x % M < border adds one to floor(x / M) - floor((x - border) / M), for border <= M.
        wraps = _floor_sum(num_places, _CIRCLE, _GOLDEN_STEP, self._offset)
        shifted = self._offset - border + _CIRCLE
        return wraps - _floor_sum(num_places, _CIRCLE, _GOLDEN_STEP, shifted) + num_places


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


# Neighbouring steps share permutations, and only a few datasets are in use at a time.
@lru_cache(maxsize=32)
def _permutation(seed: int, stream: int, lap: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, stream, lap]).permutation(size)


def _share_borders(sizes: Sequence[int], temperature: float) -> list[int]:
    """Return the N + 1 borders that divide the circle of points among the N datasets."""
    # Logarithms relative to the largest avoid overflow of the power.
    logs = np.log(np.asarray(sizes, np.float64)) / temperature
    ends = np.cumsum(np.exp(logs - logs.max()))
    return [0, *np.rint(ends / ends[-1] * _CIRCLE).astype(np.int64).tolist()]


def _floor_sum(count: int, divisor: int, factor: int, offset: int) -> int:
    """Compute sum over i < count of floor((factor * i + offset) / divisor), offset >= 0.

    Integer parts of factor and offset are summed directly. The rest counts lattice points under a
    line, along the other axis, in as many steps as Euclid's algorithm.
    """
    total = 0
    while count > 0:
        whole, factor = divmod(factor, divisor)
        total += whole * (count * (count - 1) // 2)
        whole, offset = divmod(offset, divisor)
        total += whole * count
        count, offset = divmod(factor * count + offset, divisor)
        factor, divisor = divisor, factor
    return total
