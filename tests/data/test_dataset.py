from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from videokd.data import dataset as dataset_module
from videokd.data.augment import apply_augmentation, center_crop
from videokd.data.batch import BadVideo, ClipRequest, ClipSample, collate
from videokd.data.batch_plan import BatchPlan, PlanSampler
from videokd.data.clip_spec import ClipSet, ClipSpec
from videokd.data.dataset import AugmentSpec, ClipDataset
from videokd.data.decode import open_video
from videokd.data.frame_cache_writer import write_frame_cache
from videokd.data.lists.index import VideoIndex, VideoRecord
from videokd.utils.errors import InputError

CLIP = ClipSpec(num_frames=4, sampling_rate=3, crop_size=32, short_side=40)
# Longer and finer, shorter and smaller: other experts' clips; one of them once more, plain.
LONG, SMALL = ClipSpec(8, 4, 32, 40), ClipSpec(2, 1, 16, 40, box_size=32)
SEVERAL = ClipSet(CLIP, others=(LONG, SMALL), plain=(SMALL,))
WHOLE = AugmentSpec(scale_range=(1.0, 1.0), ratio_range=(4 / 3, 4 / 3))
RANDOM = AugmentSpec(flip=True, color_jitter=0.3)


@pytest.fixture
def index(make_video, tmp_path):
    names = ["a.avi", "b.mp4", "short.avi"]
    for name, num_frames in zip(names, (40, 30, 5), strict=True):
        make_video(name, num_frames, codec="libx264" if name == "b.mp4" else "mpeg4")
    (tmp_path / "broken.avi").write_bytes(b"not a video")
    records = [VideoRecord(name, k, "toy", name) for k, name in enumerate([*names, "broken.avi"])]
    return VideoIndex(tuple(records), ("a", "b", "c", "d"), tmp_path, "toy", "train")


def make_dataset(index, augment=RANDOM, seed=0, clip=CLIP, **options):
    return ClipDataset([index], clip=clip, augment=augment, seed=seed, **options)


def test_the_frames_of_a_clip_are_those_it_names(index, read_numbers):
    dataset = make_dataset(index, WHOLE)
    for position in range(20):
        sample = dataset[ClipRequest(0, position % 3, 0, position)]
        assert isinstance(sample, ClipSample)
        assert sample.clips[CLIP.name].shape == (3, 4, 32, 32)
        assert (
            read_numbers(sample.clips[CLIP.name].permute(1, 2, 3, 0))
            == sample.frame_indices.tolist()
        )
        assert sample.label == sample.record_id == position % 3


def test_a_video_that_a_scan_found_unusable_is_not_opened(index, monkeypatch):
    records = [replace(record, cause="hung for more than 60 s") for record in index.records]
    monkeypatch.setattr("videokd.data.dataset.open_video", None)
    sample = make_dataset(replace(index, records=tuple(records)))[ClipRequest(0, 1, 0, 0)]
    assert sample == BadVideo(0, 1, "b.mp4", "hung for more than 60 s")


def test_clips_follow_the_sampler(index, read_numbers):
    segments = ClipSpec(4, 1, 32, 40, sampler="segments")
    for position in range(5):
        sample = make_dataset(index, WHOLE, clip=segments)[ClipRequest(0, 0, 0, position)]
        assert [i // 10 for i in sample.frame_indices.tolist()] == [0, 1, 2, 3]
        assert (
            read_numbers(sample.clips[segments.name].permute(1, 2, 3, 0))
            == sample.frame_indices.tolist()
        )
    # The videos have 25 frames a second: at 5, every fifth counts.
    by_seconds = ClipSpec(4, 2, 32, 40, target_fps=5.0, short_video="loop")
    sample = make_dataset(index, WHOLE, clip=by_seconds)[ClipRequest(0, 0, 0, 0)]
    first, *others = sample.frame_indices.tolist()
    assert first in (0, 5)
    assert others == [first + 10, first + 20, first + 30]
    sample = make_dataset(index, WHOLE, clip=by_seconds)[ClipRequest(0, 2, 0, 0)]
    assert sample.frame_indices.tolist() == [0] * 4  # of a fifth of a second only one is left


@pytest.mark.parametrize("is_cached", [False, True])
def test_seconds_are_those_of_a_variable_rate(index, make_video, tmp_path, is_cached):
    # 20 frames a second for a second, then 5 for two.
    times_ms = [50 * n for n in range(20)] + [1000 + 200 * n for n in range(10)]
    make_video("variable.mp4", 30, codec="libx264", times_ms=times_ms)
    index = replace(index, records=(VideoRecord("variable.mp4", 0, "toy", "g"),))
    spec = ClipSpec(14, 1, 32, 40, target_fps=5.0)
    options = {}
    if is_cached:
        folder = tmp_path / "cache"
        options["caches"] = [write_frame_cache(index, directory=folder, short_side=40, max_gib=1.0)]
    sample = make_dataset(index, WHOLE, clip=spec, **options)[ClipRequest(0, 0, 0, 1)]
    every = [0, 4, 8, 12, 16, *range(20, 30)]  # those that are shown every fifth of a second
    place = every.index(int(sample.frame_indices[0]))
    assert sample.frame_indices.tolist() == every[place : place + 14]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("spread", [0, 1, 3, 4]), ("clamp", [0, 3, 4, 4]), ("loop", [0, 3, 1, 4])],
)
def test_a_short_video_follows_its_rule(index, rule, expected):
    sample = make_dataset(index, clip=replace(CLIP, short_video=rule))[ClipRequest(0, 2, 0, 0)]
    assert sample.frame_indices.tolist() == expected


def test_a_clip_depends_on_seed_epoch_and_position_alone(index):
    request = ClipRequest(0, 0, 2, 5)
    first, other_object = make_dataset(index), make_dataset(index)
    other_object[ClipRequest(0, 1, 0, 0)]
    assert torch.equal(first[request].clips[CLIP.name], other_object[request].clips[CLIP.name])
    variants = [
        make_dataset(index, seed=1)[request],
        first[ClipRequest(0, 0, 3, 5)],
        first[ClipRequest(0, 0, 2, 6)],
    ]
    assert first[request].augmentation not in [sample.augmentation for sample in variants]


@pytest.mark.parametrize("mirror_labels", [(), (1, 0, 2, 3), None])
def test_a_mirrored_clip_has_the_class_of_the_mirror_image(index, mirror_labels):
    requests = [ClipRequest(0, p % 3, 0, p) for p in range(24)]
    clip = ClipSet(CLIP, plain=(CLIP,))
    before = [make_dataset(index, clip=clip)[request] for request in requests]
    assert len({sample.augmentation.flip for sample in before}) == 2
    mirrored = make_dataset(replace(index, mirror_labels=mirror_labels), clip=clip)
    for request, old in zip(requests, before, strict=True):
        sample = mirrored[request]
        is_flipped = old.augmentation.flip and mirror_labels is not None
        assert sample.augmentation == replace(old.augmentation, flip=is_flipped)
        is_swapped = is_flipped and mirror_labels == (1, 0, 2, 3)
        assert sample.label == ((1, 0, 2, 3) if is_swapped else (0, 1, 2, 3))[old.label]
        # What is shown without augmentation is of the same class.
        (plain,), (old_plain,) = sample.plain_clips.values(), old.plain_clips.values()
        assert torch.equal(plain, old_plain.flip(-1) if is_swapped else old_plain)


def test_fresh_views_have_no_number(index):
    dataset = make_dataset(index)
    assert {dataset[ClipRequest(0, 0, epoch, 0)].view_number for epoch in range(4)} == {-1}


def test_fixed_views_come_in_turn_wherever_in_the_epoch_their_video_comes(index):
    dataset = make_dataset(index, views_per_video=3)
    pool = [dataset[ClipRequest(0, 0, epoch, 0)] for epoch in range(3)]
    assert [sample.view_number for sample in pool] == [0, 1, 2]
    assert len({sample.augmentation for sample in pool}) == 3
    for epoch, position in ((3, 5), (7, 1), (11, 40)):
        sample = dataset[ClipRequest(0, 0, epoch, position)]
        first = pool[epoch % 3]
        assert (sample.view_number, sample.augmentation) == (first.view_number, first.augmentation)
        assert torch.equal(sample.frame_indices, first.frame_indices)
        assert torch.equal(sample.clips[CLIP.name], first.clips[CLIP.name])


def test_fixed_views_differ_between_videos_datasets_and_seeds(index):
    options = {"clip": CLIP, "augment": RANDOM, "views_per_video": 2}
    dataset = ClipDataset([index, index], seed=0, **options)
    other_seed = ClipDataset([index, index], seed=1, **options)
    requests = [ClipRequest(0, 0, 0, 0), ClipRequest(0, 1, 0, 0), ClipRequest(1, 0, 0, 0)]
    views = {made[request].augmentation for made in (dataset, other_seed) for request in requests}
    assert len(views) == 6


def test_the_number_of_views_must_not_be_negative(index):
    with pytest.raises(InputError, match=r"views_per_video must be >= 0 \(0 = fresh\), got -1"):
        make_dataset(index, views_per_video=-1)


@pytest.mark.parametrize("views_per_video", [0, 2])
def test_a_plain_clip_has_the_same_frames_in_the_centre_view(index, views_per_video):
    request = ClipRequest(0, 1, 1, 3)
    options = {"views_per_video": views_per_video}
    sample = make_dataset(index, clip=ClipSet(CLIP, plain=(CLIP,)), **options)[request]
    with open_video(str(index.root / "b.mp4")) as video:
        frames = video.get_frames(sample.frame_indices.tolist(), short_side=CLIP.short_side)
    view = center_crop(*frames.shape[1:3], CLIP.crop_size)
    (plain,) = sample.plain_clips.values()
    assert torch.equal(plain, apply_augmentation(frames, view, size=CLIP.crop_size))
    alone = make_dataset(index, **options)[request]
    assert alone.plain_clips == {}
    assert torch.equal(alone.clips[CLIP.name], sample.clips[CLIP.name])


def test_each_shape_is_cut_around_the_same_moment_with_the_same_view(index, read_numbers):
    dataset = make_dataset(index, WHOLE, clip=SEVERAL)
    for position in range(12):
        record_id = position % 3
        sample = dataset[ClipRequest(0, record_id, 0, position)]
        num_frames = (40, 30, 5)[record_id]
        moment = SEVERAL.list_frames(int(sample.frame_indices[0]), num_frames)
        assert list(sample.clips) == [CLIP.name, LONG.name, SMALL.name]
        for spec, indices in zip(SEVERAL.specs[1:], moment[1:], strict=True):
            clip = sample.clips[spec.name]
            assert clip.shape == (3, spec.num_frames, spec.crop_size, spec.crop_size)
            assert read_numbers(clip.permute(1, 2, 3, 0)) == indices.tolist()


def test_other_shapes_are_replayed_by_the_view_of_the_clip_and_change_nothing_of_it(index):
    request = ClipRequest(0, 0, 3, 4)
    sample = make_dataset(index, clip=SEVERAL)[request]
    alone = make_dataset(index)[request]
    assert torch.equal(alone.clips[CLIP.name], sample.clips[CLIP.name])
    assert alone.augmentation == sample.augmentation
    start = int(sample.frame_indices[0])
    with open_video(str(index.root / "a.avi")) as video:
        for spec, indices in zip(SEVERAL.specs, SEVERAL.list_frames(start, 40), strict=True):
            frames = video.get_frames(indices.tolist(), short_side=40)
            expected = apply_augmentation(frames, sample.augmentation, size=spec.crop_size)
            assert torch.equal(sample.clips[spec.name], expected)
    plain = apply_augmentation(frames, center_crop(*frames.shape[1:3], 32), size=16)
    assert torch.equal(sample.plain_clips[SMALL.name], plain)


@pytest.fixture
def count_reads(monkeypatch):
    """What is opened, and the frames that are asked for in each call of ``get_frames``."""
    opened, asked = [], []
    open_file = dataset_module.open_video

    def open_and_watch(path, **options):
        opened.append(path)
        video = open_file(path, **options)
        get_frames = video.get_frames
        monkeypatch.setattr(
            video, "get_frames", lambda *a, **k: asked.append(list(a[0])) or get_frames(*a, **k)
        )
        return video

    monkeypatch.setattr(dataset_module, "open_video", open_and_watch)
    return opened, asked


def test_experts_of_the_same_frames_cost_no_open_and_no_frame_more(index, count_reads):
    opened, asked = count_reads
    request = ClipRequest(0, 0, 0, 7)
    smaller = tuple(ClipSpec(4, 3, size, 40, box_size=32) for size in (8, 16, 24))
    for clip in (CLIP, ClipSet(CLIP, others=smaller, plain=(CLIP, *smaller))):
        make_dataset(index, clip=clip)[request]
    assert len(opened) == len(asked) == 2
    assert asked[1] == asked[0] == sorted(set(asked[0]))


def test_experts_of_other_frames_cost_the_union_of_the_frames(index, count_reads):
    opened, asked = count_reads
    sample = make_dataset(index, clip=SEVERAL)[ClipRequest(0, 0, 0, 7)]
    moment = SEVERAL.list_frames(int(sample.frame_indices[0]), 40)
    assert len(opened) == 1
    assert asked == [sorted({int(i) for indices in moment for i in indices})]


@pytest.mark.parametrize("views_per_video", [0, 4])
def test_several_clips_of_a_video_are_those_of_as_many_requests_from_one_decode(
    index, count_reads, views_per_video
):
    opened, asked = count_reads
    dataset = make_dataset(index, clip=SEVERAL, views_per_video=views_per_video)
    samples = dataset[ClipRequest(0, 0, 2, 8, num_clips=3)]
    assert len(opened) == len(asked) == 1
    assert asked[0] == sorted(set(asked[0]))
    # Fixed views are those of this epoch and of the next ones.
    places = [(2, 8), (2, 9), (2, 10)] if views_per_video == 0 else [(2, 8), (3, 0), (4, 0)]
    alone = [dataset[ClipRequest(0, 0, epoch, position)] for epoch, position in places]
    for sample, expected in zip(samples, alone, strict=True):
        assert (sample.augmentation, sample.view_number) == (
            expected.augmentation,
            expected.view_number,
        )
        assert torch.equal(sample.frame_indices, expected.frame_indices)
        assert torch.equal(sample.clips[CLIP.name], expected.clips[CLIP.name])
        assert torch.equal(sample.clips[LONG.name], expected.clips[LONG.name])
        assert torch.equal(sample.plain_clips[SMALL.name], expected.plain_clips[SMALL.name])
    assert len({sample.augmentation for sample in samples}) == 3


def test_a_broken_video_of_several_clips_is_named_once(index):
    dataset = make_dataset(index)
    requests = [ClipRequest(0, 3, 0, 0, num_clips=2), ClipRequest(0, 1, 0, 2, num_clips=2)]
    batch = collate([dataset[request] for request in requests])
    assert [bad.path for bad in batch.bad] == ["broken.avi"]
    assert batch.record_ids.tolist() == [1, 1]


def test_a_view_can_be_replayed_from_what_the_sample_carries(index):
    sample = make_dataset(index)[ClipRequest(0, 1, 0, 3)]
    with open_video(str(index.root / "b.mp4")) as video:
        frames = video.get_frames(sample.frame_indices.tolist(), short_side=CLIP.short_side)
    assert torch.equal(
        apply_augmentation(frames, sample.augmentation, size=CLIP.crop_size),
        sample.clips[CLIP.name],
    )


def test_a_broken_video_is_named_and_not_replaced(index):
    sample = make_dataset(index)[ClipRequest(0, 3, 0, 0)]
    assert isinstance(sample, BadVideo)
    assert (sample.record_id, sample.path) == (3, "broken.avi")
    assert sample.cause.startswith("not a video file")


def test_batches_are_the_same_with_and_without_workers(index):
    plan = BatchPlan([len(index)], batch_size=2, seed=0)

    def load(num_workers):
        return list(
            DataLoader(
                make_dataset(index, views_per_video=2, clip=SEVERAL),
                batch_sampler=PlanSampler(plan, 0, 4),
                collate_fn=collate,
                num_workers=num_workers,
                timeout=60 if num_workers else 0,
            )
        )

    for here, there in zip(load(0), load(2), strict=True):
        for kind in ("clips", "plain_clips"):
            clips, same = getattr(here, kind), getattr(there, kind)
            assert clips.keys() == same.keys() != set()
            assert all(torch.equal(clips[name], same[name]) for name in clips)
        assert here.view_keys == there.view_keys
        assert here.augmentations == there.augmentations
        assert here.bad == there.bad


def test_a_frame_cache_changes_nothing(index, tmp_path):
    cache = write_frame_cache(index, directory=tmp_path / "cache", short_side=40, max_gib=1.0)
    plain, cached = make_dataset(index), make_dataset(index, caches=[cache])
    for position in range(8):
        request = ClipRequest(0, position % 3, 1, position)
        assert torch.equal(plain[request].clips[CLIP.name], cached[request].clips[CLIP.name])
    request = ClipRequest(0, 3, 0, 0)
    assert cached[request] == plain[request]


def test_caches_must_fit(index, tmp_path):
    cache = write_frame_cache(index, directory=tmp_path / "cache", short_side=24, max_gib=1.0)
    with pytest.raises(InputError, match="cached with short side 24, clips need 40"):
        make_dataset(index, caches=[cache])
    with pytest.raises(InputError, match="1 indexes need as many frame caches, got 0"):
        make_dataset(index, caches=[])
