"""Cost of training clips compared with other libraries and with the minimum of decoding."""

from collections.abc import Callable

import torch

from benchmarks.data_cases import count_decoding, make_clip_reader, make_index
from benchmarks.data_rivals import (
    has_decord,
    make_bare_reader,
    make_decord_reader,
    make_pytorchvideo_reader,
)
from benchmarks.data_videos import BenchmarkVideo
from benchmarks.figures import Figure, paired_ratios, time_interleaved

# Rival -> required speed of videokd relative to it, and the goal.
_PROMISES: dict[str, tuple[float | None, float | None]] = {
    "bare_pyav": (None, None),
    "pytorchvideo": (1.8, 2.5),
    "decord_get_batch": (0.9, 1.0),
    "decord_get_batch_resized": (0.9, 1.0),
}


def count_clips(video: BenchmarkVideo, *, num_clips: int) -> list[Figure]:
    """Count opens per clip, and decoded frames relative to the minimum of any decoder."""
    with count_decoding() as counts:
        samples = make_clip_reader(make_index([video]), num_clips=num_clips)()
    least = sum(video.least_decoded(s.frame_indices.numpy()) for s in samples)
    name = f"data/{video.name}"
    return [
        Figure.of_count(
            f"{name}/opens_per_clip", counts.num_opens / num_clips, "opens", must=1, goal=1
        ),
        Figure.of_count(
            f"{name}/decoded_over_least", counts.num_frames / least, "ratio", must=1.02, goal=1
        ),
    ]


def time_clips(video: BenchmarkVideo, *, num_clips: int, num_rounds: int) -> list[Figure]:
    """Time the clips of `ClipDataset` against the same clips read by other libraries.

    Times are CPU times of the process with all its threads; the sides are measured in turn.
    """
    read = make_clip_reader(make_index([video]), num_clips=num_clips)
    samples = read()
    works: dict[str, Callable[[], object]] = {
        "videokd": read,
        "bare_pyav": make_bare_reader(video.path, samples),
        "pytorchvideo": make_pytorchvideo_reader(video.path, samples),
    }
    if has_decord():
        works |= {
            "decord_get_batch": make_decord_reader(video.path, samples, resized=False),
            "decord_get_batch_resized": make_decord_reader(video.path, samples, resized=True),
        }
    times = time_interleaved(works, device=torch.device("cpu"), num_rounds=num_rounds)
    name = f"data/{video.name}"
    figures = [
        Figure.of_samples(
            f"{name}/clips_per_cpu_sec",
            [1e3 * num_clips / ms for ms in times["videokd"]],
            "clips/s",
            better="higher",
        )
    ]
    for rival, (must, goal) in _PROMISES.items():
        if rival in times:
            ratios = paired_ratios(times[rival], times["videokd"])
            figures.append(
                Figure.of_samples(
                    f"{name}/speed_over_{rival}",
                    ratios,
                    "x",
                    better="higher",
                    must=must,
                    goal=goal,
                )
            )
    return figures
