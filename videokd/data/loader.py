"""Batch loading in worker processes; a hang or crash costs one clip, not the run."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from videokd.data.batch import BadVideo
from videokd.data.pool.supervised_pool import Lost, SupervisedPool

Request = TypeVar("Request")
Sample = TypeVar("Sample")
RequestIn = TypeVar("RequestIn", contravariant=True)
SampleOut = TypeVar("SampleOut", covariant=True)
# Path of a video -> one cause per worker lost on it.
Losses = dict[str, list[str]]

# Allow one loss per video: it may be due to a slow network disk or a lack of memory.
_MAX_LOSSES = 2


class Batch(Protocol):
    """Collated batch of samples."""

    def pin_memory(self: "BatchT") -> "BatchT":
        """Return the batch in page-locked memory."""


BatchT = TypeVar("BatchT", bound=Batch)


class LoadableDataset(Protocol[RequestIn, SampleOut]):
    """Dataset that makes a sample from a request, in any process."""

    def __getitem__(self, request: RequestIn, /) -> SampleOut | BadVideo:
        """Return the sample of a request, or a BadVideo if its video cannot be used."""

    def lost(self, request: RequestIn, cause: str) -> BadVideo:
        """Return the BadVideo for a request whose worker was lost."""


@dataclass(frozen=True)
class LoadingOptions:
    """Settings of the loader processes.

    Args:
        num_workers: Number of processes; 0 loads in this process, without supervision.
        deadline_sec: Longest time for one sample, after which its worker is killed.
        worker_init: Called with the worker number in each worker.
        pin_memory: Whether batches are copied to a GPU.
    """

    num_workers: int
    deadline_sec: float
    worker_init: Callable[[int], None] | None = None
    pin_memory: bool = False


def iterate_batches(
    dataset: LoadableDataset[Request, Sample],
    batches: Iterable[Sequence[Request]],
    *,
    collate: Callable[[Sequence[Any]], BatchT],
    options: LoadingOptions,
    losses: Sequence[Losses],
) -> Generator[BatchT, None, None]:
    """Yield the batches in order; the workers end when this generator ends or is closed.

    A sample whose worker hangs, dies or runs out of memory becomes a BadVideo. Its video is retried
    once at its next request, since the machine may have been at fault. Other samples are not
    affected.

    Args:
        dataset: Dataset of the samples; picklable.
        batches: Requests of each batch; consumed as needed, two batches per worker ahead.
        collate: Function from samples and bad videos, in the order of the requests, to a batch.
        options: Workers and their deadline.
        losses: For each dataset id, path -> causes of the workers lost on the video. Videos with
            two causes are skipped; new losses are added.

    Raises:
        RunError: workers die outside any video.
    """
    pool = SupervisedPool(
        dataset.__getitem__,
        combine=_Collate(dataset, collate, losses),
        num_workers=options.num_workers,
        deadline_sec=options.deadline_sec,
        worker_init=options.worker_init,
        pin_memory=options.pin_memory,
    )

    def skip_known(request: Request) -> Request | Lost:
        video = dataset.lost(request, "")
        causes = losses[video.dataset_id].get(video.path, [])
        return request if len(causes) < _MAX_LOSSES else Lost(causes[-1], request)

    with pool:
        for batch in pool.map([skip_known(r) for r in requests] for requests in batches):
            yield batch.pin_memory() if options.pin_memory else batch


@dataclass(frozen=True)
class _Collate(Generic[Request, Sample, BatchT]):
    """Collate function that records lost videos; runs in workers, or here if an item was lost."""

    dataset: LoadableDataset[Request, Sample]
    collate: Callable[[Sequence[Any]], BatchT]
    losses: Sequence[Losses]

    def __call__(self, results: Sequence[Sample | BadVideo | Lost]) -> BatchT:
        return self.collate([self._name(r) if isinstance(r, Lost) else r for r in results])

    def _name(self, lost: Lost) -> BadVideo:
        video = self.dataset.lost(lost.item, lost.cause)
        causes = self.losses[video.dataset_id].setdefault(video.path, [])
        if len(causes) < _MAX_LOSSES:
            causes.append(lost.cause)
        return video
