"""Benchmark of the data path: other libraries, the minimum of decoding, and the frame cache.

The two sides of a ratio are measured in turn in this process, or with the same loader. Counts are
exact. `data_rivals.py` and `data_views.py` describe the work of each side.
"""

from pathlib import Path

from benchmarks.data_cache import benchmark_frame_cache
from benchmarks.data_clips import count_clips, time_clips
from benchmarks.data_videos import generate_videos
from benchmarks.data_views import measure_views
from benchmarks.data_workers import measure_memory, measure_workers
from benchmarks.figures import Figure


def benchmark_data(folder: Path, *, num_rounds: int, is_quick: bool = False) -> list[Figure]:
    """Measure the data path on generated videos.

    Args:
        folder: Output folder of videos and frame caches.
        num_rounds: Timings of each side.
        is_quick: Whether to use fewer clips and batches too, as a functional check.

    Raises:
        RunError: A generated video cannot be read.
    """
    num_clips = 2 if is_quick else 4
    videos = generate_videos(folder)
    figures = []
    for video in videos:
        figures += count_clips(video, num_clips=32)
        figures += time_clips(video, num_clips=num_clips, num_rounds=num_rounds)
        figures += measure_views(video, num_rounds=3 if is_quick else 9)
    figures += measure_workers(
        videos, num_batches=16 if is_quick else 64, num_rounds=2 if is_quick else 7
    )
    figures += measure_memory(videos, num_clips=400 if is_quick else 5000)
    return figures + benchmark_frame_cache(folder, num_rounds=num_rounds)
