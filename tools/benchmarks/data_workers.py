"""Benchmark of the whole training loader: speedup of a second worker, memory growth of a worker."""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from multiprocessing import active_children, get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.data_cases import check_sample, make_clip_reader, make_dataset, make_index
from benchmarks.data_videos import BenchmarkVideo
from benchmarks.figures import Figure, paired_ratios
from videokd.data.batch import ClipBatch, ClipRequest, ClipSample, collate
from videokd.data.batch_plan import BatchPlan, PlanSampler
from videokd.data.loader import LoadableDataset, LoadingOptions, iterate_batches

_BATCH_SIZE = 8
_DEADLINE_SEC = 60.0
_NUM_SETTLING_BATCHES = 8  # workers start and fill their prefetch queues
_NUM_MACHINE_CLIPS = 16
_MACHINE_SHARE = 0.95  # of two whole cores; below it the loader has no requirement


def measure_workers(
    videos: Sequence[BenchmarkVideo], *, num_batches: int, num_rounds: int
) -> list[Figure]:
    """Time two workers against one in wall time, and two independent processes against one.

    Without two free cores no loader can be twice as fast with a second worker. One and two
    independent processes therefore read the same clips; if they do not scale, the loader has no
    requirement.

    Args:
        videos: Videos, read in turn by all workers.
        num_batches: Timed batches of 8 clips; 8 untimed batches come first.
        num_rounds: Timings of each.
    """
    speeds: dict[int, list[float]] = {1: [], 2: []}
    machine: dict[int, list[float]] = {1: [], 2: []}
    for n in range(num_rounds):
        for num in (1, 2) if n % 2 == 0 else (2, 1):
            speeds[num].append(_time_loader(videos, num, num_batches))
            machine[num].append(_time_processes(videos[0], num))
    alone = Figure.of_samples(
        f"data/processes/2_over_1_on_{_count_cores()}_cores",
        paired_ratios(machine[2], machine[1]),
        "x",
        better="higher",
    )
    promise = 1.9 if alone.value >= 2 * _MACHINE_SHARE else None
    return [
        alone,
        Figure.of_samples("data/loader/clips_per_sec", speeds[1], "clips/s", better="higher"),
        Figure.of_samples(
            "data/loader/2_workers_over_1",
            paired_ratios(speeds[2], speeds[1]),
            "x",
            better="higher",
            must=promise,
            goal=promise,
        ),
    ]


def measure_memory(videos: Sequence[BenchmarkVideo], *, num_clips: int) -> list[Figure]:
    """Measure the growth of a worker's memory while it makes ``num_clips`` clips.

    The worker's anonymous memory, which a leak would fill, is read from /proc after every batch.
    The medians of the second and the last tenth are compared; the first tenth is the start-up.
    """
    if not Path("/proc/self/status").exists():
        return []
    sizes = []
    for _ in _iterate(videos, num_workers=1, num_batches=num_clips // _BATCH_SIZE):
        workers = [_anonymous_kib(worker.pid or 0) for worker in active_children()]
        sizes.append(sum(workers))
    tenth = max(1, len(sizes) // 10)
    before, after = sizes[tenth : 2 * tenth] or sizes, sizes[-tenth:]
    growth = 100.0 * (statistics.median(after) / statistics.median(before) - 1.0)
    return [
        Figure.of_count(
            f"data/loader/worker_memory_growth_in_{num_clips}_clips", growth, "%", must=0.5, goal=0
        )
    ]


def _time_loader(videos: Sequence[BenchmarkVideo], num_workers: int, num_batches: int) -> float:
    """Return clips per second of wall time after the workers have started up."""
    batches = _iterate(
        videos, num_workers=num_workers, num_batches=_NUM_SETTLING_BATCHES + num_batches
    )
    for _ in range(_NUM_SETTLING_BATCHES):
        next(batches)
    start = time.perf_counter()
    num_clips = sum(len(batch) for batch in batches)
    return num_clips / (time.perf_counter() - start)


def _iterate(
    videos: Sequence[BenchmarkVideo], *, num_workers: int, num_batches: int
) -> Iterator[ClipBatch]:
    index = make_index(videos, num_copies=_BATCH_SIZE)
    plan = BatchPlan([len(index)], batch_size=_BATCH_SIZE, seed=0)
    dataset: LoadableDataset[ClipRequest, ClipSample | list[ClipSample]] = make_dataset(index)
    batches = iterate_batches(
        dataset,
        PlanSampler(plan, 0, num_batches),
        collate=collate,
        options=LoadingOptions(num_workers=num_workers, deadline_sec=_DEADLINE_SEC),
        losses=[{}],
    )
    for batch in batches:
        for bad in batch.bad:
            check_sample(bad)
        yield batch


def _time_processes(video: BenchmarkVideo, num_processes: int) -> float:
    """Return clips per second of wall time of independent processes."""
    context = get_context("fork")
    barrier, done = context.Barrier(num_processes + 1), context.Barrier(num_processes + 1)
    processes = [
        context.Process(target=_read_between, args=(video, barrier, done), daemon=True)
        for _ in range(num_processes)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    done.wait()
    seconds = time.perf_counter() - start
    for process in processes:
        process.join()
    return num_processes * _NUM_MACHINE_CLIPS / seconds


def _read_between(video: BenchmarkVideo, start: Barrier, done: Barrier) -> None:
    read = make_clip_reader(make_index([video]), num_clips=_NUM_MACHINE_CLIPS)
    read()
    start.wait()
    read()
    done.wait()


def _anonymous_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
