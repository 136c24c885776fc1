"""Test views: all views of a video from one decode, against one decode per view."""

import torch
from torch import Tensor

from benchmarks.data_cases import CLIP, check_sample, count_decoding, make_index
from benchmarks.data_videos import BenchmarkVideo
from benchmarks.figures import Figure, paired_ratios, time_interleaved
from videokd.data.augment import Augmentation, apply_augmentation, uniform_crop_boxes
from videokd.data.dataset import open_record
from videokd.data.sampling import clip_frame_indices, uniform_clip_starts
from videokd.data.test_views import ViewDataset, ViewSample

NUM_CLIPS, NUM_CROPS = 10, 3
# GOP -> required speed ratio. The larger the key frame distance, the more a separate clip wastes.
_PROMISES = {12: 5.0, 250: 12.0}


def measure_views(video: BenchmarkVideo, *, num_rounds: int) -> list[Figure]:
    """Count opens per test video, and time 10 x 3 views against one decode per view."""
    with count_decoding() as counts:
        read_at_once(video)
    name = f"data/{video.name}"
    works = {"once": lambda: read_at_once(video), "each": lambda: read_per_view(video)}
    times = time_interleaved(works, device=torch.device("cpu"), num_rounds=num_rounds)
    promise = _PROMISES.get(video.gop)
    return [
        Figure.of_count(f"{name}/opens_per_test_video", counts.num_opens, "opens", must=1, goal=1),
        Figure.of_samples(
            f"{name}/10x3_views_speed_over_per_view",
            paired_ratios(times["each"], times["once"]),
            "x",
            better="higher",
            must=promise,
            goal=promise,
        ),
    ]


def read_at_once(video: BenchmarkVideo) -> Tensor:
    """Return the views of a video as the test does, (30, 3, T, H, W) uint8."""
    views = ViewDataset(
        make_index([video]), dataset_id=0, clip=CLIP, num_clips=NUM_CLIPS, num_crops=NUM_CROPS
    )
    sample = views[0]
    check_sample(sample)
    assert isinstance(sample, ViewSample)
    return sample.clips[CLIP.name]


def read_per_view(video: BenchmarkVideo) -> Tensor:
    """Return the same views, each decoded from a newly opened file.

    Toolkits whose datasets list (video, view) pairs, such as PySlowFast, work this way. Seeking and
    decoding are videokd's here, so that only the repetition is measured.
    """
    index = make_index([video])
    shape = {"num_frames": CLIP.num_frames, "sampling_rate": CLIP.sampling_rate}
    views = []
    for view in range(NUM_CLIPS * NUM_CROPS):
        clip, crop = divmod(view, NUM_CROPS)
        with open_record(index, index.records[0], cache=None, backend="auto") as reader:
            start = uniform_clip_starts(reader.num_frames, num_clips=NUM_CLIPS, **shape)[clip]
            indices = clip_frame_indices(start, reader.num_frames, **shape)
            frames = reader.get_frames(indices.tolist(), short_side=CLIP.short_side)
        boxes = uniform_crop_boxes(*frames.shape[1:3], size=CLIP.crop_size, num_crops=NUM_CROPS)
        views.append(apply_augmentation(frames, Augmentation(boxes[crop]), size=CLIP.crop_size))
    return torch.stack(views)
