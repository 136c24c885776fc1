"""Batches of a dataset, made in processes that may hang or die: that costs a clip, not the run."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from videokd.data.batch import BadVideo
from videokd.data.supervised_pool import Lost, SupervisedPool

Request = TypeVar("Request")
Sample = TypeVar("Sample")
RequestIn = TypeVar("RequestIn", contravariant=True)
SampleOut = TypeVar("SampleOut", covariant=True)
# Path of a video -> causes of the workers that were lost on it.
Losses = dict[str, list[str]]

# A stall of a network disk, or a lack of memory, costs a sound video one clip.
_MAX_LOSSES = 2


class Batch(Protocol):
    """What collating makes of samples."""

    def pin_memory(self: "BatchT") -> "BatchT":
        """Return the batch in page-locked memory."""


BatchT = TypeVar("BatchT", bound=Batch)


class LoadableDataset(Protocol[RequestIn, SampleOut]):
    """Makes a sample of a request, in any process."""

    def __getitem__(self, request: RequestIn, /) -> SampleOut | BadVideo:
        """Make the sample, or say why its video cannot be used."""

    def lost(self, request: RequestIn, cause: str) -> BadVideo:
        """Return the BadVideo for a request whose worker was lost."""


@dataclass(frozen=True)
class LoadingOptions:
    """How batches are made.

    Args:
        num_workers: Processes; 0 makes them in this one, where nothing can be supervised.
        deadline_sec: Longest time for one sample; after it, its worker is killed.
        worker_init: Called in each worker with its number.
        pin_memory: Whether batches go to a GPU.
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
    """Yield the batches, in order; where this generator ends or is closed, its workers end.

    A sample whose worker hangs, dies or runs out of memory becomes a BadVideo. Its video is tried
    once more when it comes again: the machine may have been at fault. The other samples do not
    depend on it.

    Args:
        dataset: Makes the samples; picklable.
        batches: Their requests; drawn as they are needed, two batches per worker ahead.
        collate: Samples and bad videos, in the order of the requests -> a batch.
        options: Workers and their deadline.
        losses: Per dataset id, path -> causes of the workers lost on a video. Videos with two are
            not tried; new losses are added.

    Raises:
        RunError: Workers die for other reasons than a video.
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
    """Collates; notes what is lost. It runs in the workers, and here where something is lost."""

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
