"""Decoding cost of the demo's clips and test videos, and the speedup of the frame cache."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.data_cases import check_sample, count_decoding
from benchmarks.figures import Figure, paired_ratios, time_interleaved
from videokd.data.augment import AugmentSpec
from videokd.data.batch import ClipRequest
from videokd.data.clip_spec import ClipSpec
from videokd.data.dataset import ClipDataset
from videokd.data.frame_cache import FrameCache
from videokd.data.frame_cache_writer import write_frame_cache
from videokd.data.lists.formats.read import read_dataset
from videokd.data.lists.formats.spec import DatasetSpec
from videokd.data.lists.index import VideoIndex
from videokd.data.test_views import ViewDataset
from videokd.synthetic import generate_datasets

# The demo's clips and the usual 10 x 3 test views.
_CLIP = ClipSpec(num_frames=8, sampling_rate=3, crop_size=48, short_side=56)
_AUGMENT = AugmentSpec(scale_range=(0.4, 0.8), color_jitter=0.3)
_NUM_CLIPS, _NUM_CROPS = 10, 3


def benchmark_frame_cache(folder: Path, *, num_rounds: int, num_videos: int = 12) -> list[Figure]:
    """Count opens and decoded frames, and time decoding against the frame cache.

    Uses the tiny profile of the embedded datasets: MPEG-4 AVI without B-frames (as UCF101), with
    B-frames (as HMDB51), and H.264 MP4 (as Kinetics).

    Args:
        folder: Output folder of videos and frame caches.
        num_rounds: Number of timings.
        num_videos: Number of videos to read per dataset.

    Raises:
        RunError: A generated video cannot be read.
    """
    root = generate_datasets(folder / "videos", profile="tiny", num_processes=1)
    figures = []
    for name, index in _read_indexes(root).items():
        cache = write_frame_cache(
            index, directory=folder / "frames", short_side=_CLIP.short_side, max_gib=1.0
        )
        videos = range(min(num_videos, len(index)))
        figures += _count_clips(f"data/{name}", index, videos)
        figures += _count_views(f"data/{name}", index, cache, videos)
        figures += _time_cache(f"data/{name}", index, cache, videos, num_rounds)
    return figures


def _read_indexes(root: Path) -> dict[str, VideoIndex]:
    specs = {
        "avi": ("ucf101", "ucf_style/UCF-101", "ucf_style/ucfTrainTestlist"),
        "avi_b_frames": ("hmdb51", "hmdb_style/videos", "hmdb_style/testTrainMulti_7030_splits"),
        "mp4": ("kinetics", "kinetics_style", "kinetics_style/annotations"),
    }
    return {
        name: read_dataset(DatasetSpec(format, root / videos, root / lists), name=format)["train"]
        for name, (format, videos, lists) in specs.items()
    }


def _read_clips(
    index: VideoIndex, cache: FrameCache | None, videos: Sequence[int]
) -> Callable[[], None]:
    dataset = ClipDataset(
        [index],
        clip=_CLIP,
        augment=_AUGMENT,
        seed=0,
        backend="pyav",
        caches=None if cache is None else [cache],
    )

    def read() -> None:
        for i in videos:
            check_sample(dataset[ClipRequest(0, i, epoch=0, position=i)])

    return read


def _count_clips(name: str, index: VideoIndex, videos: Sequence[int]) -> list[Figure]:
    with count_decoding() as counts:
        _read_clips(index, None, videos)()
    num = len(videos)
    return [
        Figure.of_count(f"{name}/opens_per_clip", counts.num_opens / num, "opens"),
        Figure.of_count(f"{name}/frames_decoded_per_clip", counts.num_frames / num, "frames"),
    ]


def _count_views(
    name: str, index: VideoIndex, cache: FrameCache, videos: Sequence[int]
) -> list[Figure]:
    counts = {}
    for num_clips, num_crops in ((1, 1), (_NUM_CLIPS, _NUM_CROPS)):
        views = ViewDataset(
            index,
            dataset_id=0,
            clip=_CLIP,
            num_clips=num_clips,
            num_crops=num_crops,
            backend="pyav",
        )
        with count_decoding() as counts[num_crops]:
            for i in videos:
                check_sample(views[i])
    many, one = counts[_NUM_CROPS], counts[1]
    num_frames = sum(cache.reader(index.records[i]).num_frames for i in videos)
    return [
        Figure.of_count(f"{name}/opens_per_test_video", many.num_opens / len(videos), "opens"),
        Figure.of_count(
            f"{name}/opens_10x3_over_1x1", many.num_opens / one.num_opens, "ratio", must=1, goal=1
        ),
        Figure.of_count(
            f"{name}/decodes_per_frame_in_test",
            many.num_frames / num_frames,
            "decodes",
            must=1,
            goal=1,
        ),
    ]


def _time_cache(
    name: str, index: VideoIndex, cache: FrameCache, videos: Sequence[int], num_rounds: int
) -> list[Figure]:
    works = {"cache": _read_clips(index, cache, videos), "file": _read_clips(index, None, videos)}
    times = time_interleaved(works, device=torch.device("cpu"), num_rounds=num_rounds)
    figures = [
        Figure.of_samples(
            f"{name}/clips_per_cpu_sec_from_{source}",
            [1e3 * len(videos) / sample for sample in samples],
            "clips/s",
            better="higher",
        )
        for source, samples in times.items()
    ]
    speedups = paired_ratios(times["file"], times["cache"])
    return [
        *figures,
        Figure.of_samples(f"{name}/cache_speedup", speedups, "ratio", better="higher"),
    ]
