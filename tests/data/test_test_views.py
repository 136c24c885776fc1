from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from videokd.data import dataset
from videokd.data.augment import Augmentation, apply_augmentation, uniform_crop_boxes
from videokd.data.batch import BadVideo
from videokd.data.clip_spec import ClipSet, ClipSpec
from videokd.data.frame_cache_writer import write_frame_cache
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.data.sampling import uniform_clip_starts
from videokd.data.test_views import ViewDataset, ViewPlan, collate_views
from videokd.utils.errors import InputError

CLIP = ClipSpec(num_frames=4, sampling_rate=2, crop_size=48, short_side=48)


@pytest.fixture
def index(make_video, tmp_path):
    make_video("a.avi", 40)
    make_video("b.mp4", 25, codec="libx264")
    (tmp_path / "broken.avi").write_bytes(b"")
    records = [
        VideoRecord(name, k, "toy", name) for k, name in enumerate(["a.avi", "broken.avi", "b.mp4"])
    ]
    return VideoIndex(tuple(records), ("x", "y", "z"), tmp_path, "toy", "test")


def test_views_are_clips_by_crops_in_order(index):
    views = ViewDataset(index, dataset_id=0, clip=CLIP, num_clips=3, num_crops=3)
    sample = views[0]
    assert sample.clips[CLIP.name].shape == (9, 3, 4, 48, 48)
    with dataset.open_record(index, index.records[0], cache=None, backend="auto") as video:
        every_frame = video.get_frames(range(40))
    starts = uniform_clip_starts(40, num_clips=3, num_frames=4, sampling_rate=2)
    for clip, start in enumerate(starts):
        for crop, left in enumerate((0, 8, 16)):
            expected = every_frame[start : start + 7 : 2, :, left : left + 48]
            actual = sample.clips[CLIP.name][3 * clip + crop].permute(1, 2, 3, 0).numpy()
            np.testing.assert_array_equal(actual, expected)


def test_one_opening_and_one_read_serve_all_views(index, monkeypatch):
    opened, read = [], []
    open_video = dataset.open_video

    def open_and_count(path, **options):
        opened.append(path)
        video = open_video(path, **options)
        get_frames = video.get_frames
        monkeypatch.setattr(
            video, "get_frames", lambda *a, **k: read.append(list(a[0])) or get_frames(*a, **k)
        )
        return video

    monkeypatch.setattr(dataset, "open_video", open_and_count)
    ViewDataset(index, dataset_id=0, clip=CLIP, num_clips=10, num_crops=3)[2]
    assert (len(opened), len(read)) == (1, 1)
    assert read[0] == sorted(set(read[0]))


def test_each_shape_has_the_same_views(index):
    # The box of 40 px is left as it is for the one, halved for the other.
    main, other = ClipSpec(4, 2, 40, 48), ClipSpec(6, 3, 20, 48, box_size=40)
    clips = ClipSet(main, others=(other,))
    sample = ViewDataset(index, dataset_id=0, clip=clips, num_clips=3, num_crops=3)[0]
    alone = ViewDataset(index, dataset_id=0, clip=main, num_clips=3, num_crops=3)[0]
    assert list(sample.clips) == [main.name, other.name]
    assert torch.equal(sample.clips[main.name], alone.clips[main.name])
    with dataset.open_record(index, index.records[0], cache=None, backend="auto") as video:
        every_frame = video.get_frames(range(40), short_side=48)
    expected = []
    for start in uniform_clip_starts(40, num_clips=3, num_frames=4, sampling_rate=2):
        frames = every_frame[clips.list_frames(start, 40)[1]]
        boxes = uniform_crop_boxes(48, 64, size=40, num_crops=3)
        expected += [apply_augmentation(frames, Augmentation(box), size=20) for box in boxes]
    assert torch.equal(sample.clips[other.name], torch.stack(expected))


def test_views_follow_the_rule_and_the_sampler(index):
    options = {"dataset_id": 0, "num_clips": 3, "num_crops": 5, "clip_rule": "end_inclusive"}
    # 64 x 48 pixels: the box is as high as the frame, so the crops see the left, right and middle.
    sample = ViewDataset(index, clip=CLIP, **options)[0]
    assert sample.clips[CLIP.name].shape == (15, 3, 4, 48, 48)
    with dataset.open_record(index, index.records[0], cache=None, backend="auto") as video:
        every_frame = torch.from_numpy(video.get_frames(range(40)))
    for clip, start in enumerate((0, 16, 33)):  # of starts up to 33, 16.5 goes to the even one
        for crop, left in enumerate((0, 16, 0, 16, 8)):
            expected = every_frame[start : start + 7 : 2, :, left : left + 48]
            assert torch.equal(
                sample.clips[CLIP.name][5 * clip + crop], expected.permute(3, 0, 1, 2)
            )
    segments = replace(CLIP, sampler="segments")
    (view,) = ViewDataset(index, dataset_id=0, clip=segments)[0].clips[segments.name]
    assert torch.equal(view, every_frame[[5, 15, 25, 35], :, 8:56].permute(3, 0, 1, 2))


def test_views_of_several_shapes_are_batched_by_name(index):
    clips = ClipSet(ClipSpec(4, 2, 48, 48), others=(ClipSpec(2, 1, 24, 48, box_size=48),))
    views = ViewDataset(index, dataset_id=0, clip=clips, num_clips=2)
    (batch,) = DataLoader(views, batch_size=3, collate_fn=collate_views)
    assert {name: x.shape for name, x in batch.clips.items()} == {
        "4x2x48": (4, 3, 4, 48, 48),
        "2x1x24": (4, 3, 2, 24, 24),
    }
    assert torch.equal(batch.clips["2x1x24"][2:], views[2].clips["2x1x24"])


def test_pinning_reaches_every_tensor(index, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.to("meta"))
    clips = ClipSet(ClipSpec(4, 2, 48, 48), others=(ClipSpec(2, 1, 48, 48),))
    batch = collate_views([ViewDataset(index, dataset_id=0, clip=clips)[0]]).pin_memory()
    tensors = [*batch.clips.values(), batch.counts, batch.labels, batch.record_ids]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 5


def test_a_cache_changes_nothing(index, tmp_path):
    cache = write_frame_cache(index, directory=tmp_path / "cache", short_side=48, max_gib=1.0)
    options = {"dataset_id": 0, "clip": CLIP, "num_clips": 2, "num_crops": 3}
    plain, cached = ViewDataset(index, **options), ViewDataset(index, cache=cache, **options)
    assert torch.equal(plain[0].clips[CLIP.name], cached[0].clips[CLIP.name])
    assert plain[1] == cached[1]


def test_a_cache_of_another_size_is_an_input_error(index, tmp_path):
    cache = write_frame_cache(index, directory=tmp_path / "cache", short_side=24, max_gib=1.0)
    with pytest.raises(InputError, match="cached with short side 24, clips need 48"):
        ViewDataset(index, dataset_id=0, clip=CLIP, cache=cache)


def test_batches_count_the_views_of_every_video_and_name_bad_ones(index):
    views = ViewDataset(index, dataset_id=5, clip=CLIP, num_clips=2)
    (batch,) = DataLoader(views, batch_size=3, collate_fn=collate_views)
    assert len(views) == 3
    assert len(batch) == 2
    assert batch.clips[CLIP.name].shape == (4, 3, 4, 48, 48)
    assert batch.counts.tolist() == [2, 2]
    assert batch.labels.tolist() == [0, 2]
    assert batch.record_ids.tolist() == [0, 2]
    assert batch.bad == (BadVideo(5, 1, "broken.avi", "empty file"),)
    np.testing.assert_array_equal(batch.clips[CLIP.name][2:], views[2].clips[CLIP.name])


def test_a_batch_of_bad_videos_is_empty(index):
    batch = collate_views([ViewDataset(index, dataset_id=0, clip=CLIP)[1]])
    assert len(batch) == 0
    assert batch.clips == {}


@pytest.mark.parametrize(
    ("num_frames", "crop_size", "num_clips", "num_crops", "most", "expected"),
    [
        # 72,253,440 bytes a video: eight of them would be 0.54 GiB.
        (16, 224, 10, 3, 8, 1),
        (8, 224, 10, 3, 8, 3),
        (16, 112, 1, 1, 8, 8),
        (16, 224, 1, 1, 1000, 55),
        # More than 128 MiB alone.
        (64, 320, 10, 3, 8, 1),
    ],
)
def test_videos_of_a_batch_are_bounded_by_the_bytes_of_their_views(
    num_frames, crop_size, num_clips, num_crops, most, expected
):
    plan = ViewPlan(num_clips, num_crops, "segment_centres")
    clips = ClipSet(ClipSpec(num_frames, 2, crop_size, crop_size))
    assert plan.count_videos(clips, most=most) == expected
    more = ClipSet(clips.main, others=(ClipSpec(num_frames, 4, crop_size, crop_size),))
    assert plan.count_videos(more, most=10**6) == max(1, plan.count_videos(clips, most=10**6) // 2)
