import pickle
from dataclasses import fields, replace

import pytest
import torch

from videokd.data.augment import Augmentation
from videokd.data.batch import BadVideo, ClipSample, ViewKey, collate

CENTRE = Augmentation((0, 0, 4, 4))


def make_sample(number: int) -> ClipSample:
    clip = torch.full((3, 2, 4, 4), number, dtype=torch.uint8)
    return ClipSample(
        {"2x1x4": clip}, number, 1, 10 + number, CENTRE, torch.tensor([number, number + 3])
    )


def test_collate_stacks_clips_and_sets_bad_videos_aside():
    bad = BadVideo(0, 7, "a.avi", "empty file")
    batch = collate([make_sample(1), bad, make_sample(2)])
    assert len(batch) == 2
    assert batch.main.shape == (2, 3, 2, 4, 4)
    assert batch.main.dtype == torch.uint8
    assert batch.main[:, 0, 0, 0, 0].tolist() == [1, 2]
    assert batch.labels.tolist() == [1, 2]
    assert batch.dataset_ids.tolist() == [1, 1]
    assert batch.record_ids.tolist() == [11, 12]
    assert batch.frame_indices.tolist() == [[1, 4], [2, 5]]
    assert batch.augmentations == (CENTRE, CENTRE)
    assert batch.bad == (bad,)


def test_view_keys_follow_the_clips_and_stay_on_the_host():
    samples = [replace(make_sample(1), view_number=4), BadVideo(0, 7, "a.avi", "empty file")]
    batch = collate([*samples, make_sample(2)])
    assert batch.view_keys == (ViewKey(1, 11, 4), ViewKey(1, 12, -1))
    moved = batch.to("meta")
    assert moved.view_keys == ((1, 11, 4), (1, 12, -1))
    assert {type(value) for key in moved.view_keys for value in key} == {int}


@pytest.mark.parametrize("kind", ["clips", "plain_clips"])
def test_clips_of_several_shapes_go_by_their_names_the_main_one_first(kind):
    clips = [make_sample(n).clips["2x1x4"] for n in (1, 2)]
    samples = [
        replace(make_sample(0), **{kind: {"z": clip, "a": 10 * clip[:, :1]}}) for clip in clips
    ]
    batch = collate([samples[0], BadVideo(0, 7, "a.avi", "empty file"), samples[1]])
    assert list(getattr(batch, kind)) == ["z", "a"]
    first, other = getattr(batch, kind).values()
    assert (first.shape, other.shape) == ((2, 3, 2, 4, 4), (2, 3, 1, 4, 4))
    assert first[:, 0, 0, 0, 0].tolist() == [1, 2]
    assert other[:, 0, 0, 0, 0].tolist() == [10, 20]
    assert batch.main is next(iter(batch.clips.values()))
    assert {x.device.type for x in getattr(batch.to("meta"), kind).values()} == {"meta"}


def test_pinning_reaches_every_tensor(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.to("meta"))
    clip = make_sample(3).clips["2x1x4"]
    sample = replace(make_sample(1), clips={"a": clip, "b": clip}, plain_clips={"b": clip})
    batch = collate([sample]).pin_memory()
    values = [getattr(batch, field.name) for field in fields(batch)]
    values += [clips for value in values if isinstance(value, dict) for clips in value.values()]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    assert [value.device.type for value in tensors] == ["meta"] * 7


def test_a_batch_of_bad_videos_is_empty():
    batch = collate([BadVideo(0, 7, "a.avi", "empty file")])
    assert len(batch) == 0
    assert batch.frame_indices.shape == (0, 0)
    assert (batch.view_keys, batch.clips, batch.plain_clips) == ((), {}, {})
    assert batch.labels.dtype == batch.dataset_ids.dtype == batch.record_ids.dtype == torch.int64


def test_to_moves_every_tensor():
    batch = collate([make_sample(1)]).to("meta", non_blocking=True)
    tensors = (batch.main, batch.labels, batch.dataset_ids, batch.record_ids, batch.frame_indices)
    assert {t.device.type for t in tensors} == {"meta"}
    assert batch.augmentations == (CENTRE,)


def test_a_batch_passes_between_processes():
    batch = pickle.loads(pickle.dumps(collate([make_sample(1)])))
    assert batch.record_ids.tolist() == [11]


@pytest.mark.parametrize(
    ("num_clips", "num_parts", "sizes"),
    [
        (8, 4, [2, 2, 2, 2]),
        (7, 3, [2, 2, 3]),
        (5, 4, [2, 3]),
        (3, 2, [3]),
        (1, 2, [1]),
        (8, 1, [8]),
    ],
)
def test_parts_are_of_nearly_equal_size_and_hold_two_clips_or_more(num_clips, num_parts, sizes):
    parts = collate([make_sample(i) for i in range(num_clips)]).split(num_parts)
    assert [len(part) for part in parts] == sizes
    assert sum(part.share for part in parts) == pytest.approx(1)


def test_a_part_holds_its_rows_of_everything_and_the_datasets_of_all():
    samples = [
        replace(
            make_sample(i),
            dataset_id=i,
            view_number=i,
            clips={"main": torch.full((3, 1, 4, 4), i), "small": torch.full((3, 1, 2, 2), i)},
            plain_clips={"plain": torch.full((3, 1, 2, 2), 10 * i)},
        )
        for i in range(5)
    ]
    batch = collate([*samples, BadVideo(0, 7, "a.avi", "empty file")])
    parts, alone = batch.split(2), [collate(samples[:2]), collate(samples[2:])]
    for part, expected in zip(parts, alone, strict=True):
        assert part.whole_ids.tolist() == [0, 1, 2, 3, 4]
        for field in fields(part):
            mine, theirs = getattr(part, field.name), getattr(expected, field.name)
            if isinstance(mine, dict):
                assert mine.keys() == theirs.keys()
                assert all(torch.equal(mine[key], theirs[key]) for key in mine)
            elif field.name != "whole_ids":
                same = torch.equal(mine, theirs) if torch.is_tensor(mine) else mine == theirs
                assert same, field.name
    assert batch.split(1) == [batch]
