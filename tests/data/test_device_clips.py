from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from videokd.data.augment import AugmentSpec, RandAugment, RandomErasing
from videokd.data.batch import ClipRequest, collate
from videokd.data.clip_spec import ClipSet, ClipSpec
from videokd.data.dataset import ClipDataset
from videokd.data.lists.index import VideoIndex, VideoRecord

MAIN, SMALL = ClipSpec(4, 3, 32, 40), ClipSpec(3, 2, 16, 40, box_size=32)
CLIPS = ClipSet(MAIN, others=(SMALL,), plain=(MAIN, SMALL))
AUGMENT = AugmentSpec(
    flip=True,
    color_jitter=0.3,
    saturation_jitter=0.3,
    rand_augment=RandAugment(),
    erasing=RandomErasing(probability=0.7),
)


@pytest.fixture
def index(make_video, tmp_path):
    make_video("a.avi", 40)
    make_video("wide.mp4", 30, size=(48, 96))
    (tmp_path / "broken.avi").write_bytes(b"")
    names = ["a.avi", "wide.mp4", "broken.avi"]
    records = [VideoRecord(name, label, "toy", name) for label, name in enumerate(names)]
    return VideoIndex(tuple(records), ("x", "y", "z"), tmp_path, "toy", "train")


def make_batch(index, requests, **options):
    dataset = ClipDataset([index], clip=CLIPS, augment=AUGMENT, seed=0, **options)
    return collate([dataset[request] for request in requests])


def assert_equal(batch, expected):
    for kind in ("clips", "plain_clips"):
        clips, others = getattr(batch, kind), getattr(expected, kind)
        assert clips.keys() == others.keys()
        assert all(torch.equal(clips[name], others[name]) for name in clips)
    assert torch.equal(batch.labels, expected.labels)
    assert torch.equal(batch.frame_indices, expected.frame_indices)
    assert (batch.augmentations, batch.view_keys, batch.bad) == (
        expected.augmentations, expected.view_keys, expected.bad
    )  # fmt: skip


@pytest.mark.parametrize("num_clips", [1, 3])
@pytest.mark.parametrize("mirror_labels", [(), (1, 0, 2)])
def test_clips_that_are_cut_on_the_device_are_those_of_a_worker(index, num_clips, mirror_labels):
    index = replace(index, mirror_labels=mirror_labels)
    requests = [ClipRequest(0, p % 3, 0, p * num_clips, num_clips) for p in range(6)]
    uncut = make_batch(index, requests, cuts_on_device=True)
    assert uncut.clips == uncut.plain_clips == {}
    batch = uncut.to("cpu")
    assert batch.uncut is None
    assert_equal(batch, make_batch(index, requests))


def test_the_frames_of_a_decode_travel_once_and_small_ones_are_padded(index):
    requests = [ClipRequest(0, 0, 0, 0, num_clips=3), ClipRequest(0, 1, 0, 3, num_clips=3)]
    uncut = make_batch(index, requests, cuts_on_device=True).uncut
    assert uncut.frames.shape[1:] == (40, 80, 3)  # the one is 40 x 53, the other 40 x 80
    tables = [*uncut.clips.values(), *uncut.plain_clips.values()]
    for rows in (slice(0, 3), slice(3, 6)):
        used = torch.cat([cuts.rows[rows].flatten() for cuts in tables]).unique()
        assert used.tolist() == list(range(int(used[0]), int(used[-1]) + 1))
    assert len(uncut.frames) == int(used[-1]) + 1


def test_a_batch_of_bad_videos_is_empty(index):
    batch = make_batch(index, [ClipRequest(0, 2, 0, 0)], cuts_on_device=True)
    assert batch.uncut is None
    assert len(batch.to("cpu")) == 0


def test_pinning_reaches_the_frames(index, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.to("meta"))
    uncut = make_batch(index, [ClipRequest(0, 0, 0, 0)], cuts_on_device=True).pin_memory().uncut
    tables = [*uncut.clips.values(), *uncut.plain_clips.values()]
    tensors = [uncut.frames, *(cuts.rows for cuts in tables)]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 5


def test_uncut_clips_pass_between_processes(index):
    dataset = ClipDataset([index], clip=CLIPS, augment=AUGMENT, seed=0, cuts_on_device=True)
    requests = [ClipRequest(0, 0, 0, 0, num_clips=2), ClipRequest(0, 1, 0, 2, num_clips=2)]
    loader = DataLoader(
        dataset, batch_sampler=[requests], collate_fn=collate, num_workers=1, timeout=60
    )
    (batch,) = loader
    assert_equal(batch.to("cpu"), make_batch(index, requests))
