import pickle

import torch

from videokd.data.augment import ViewParams
from videokd.data.batch import BadVideo, ClipSample, collate

VIEW = ViewParams((0, 0, 4, 4))


def make_sample(number: int) -> ClipSample:
    clip = torch.full((3, 2, 4, 4), number, dtype=torch.uint8)
    return ClipSample(clip, number, 1, 10 + number, VIEW, torch.tensor([number, number + 3]))


def test_collate_stacks_clips_and_sets_bad_videos_aside():
    bad = BadVideo(0, 7, "a.avi", "empty file")
    batch = collate([make_sample(1), bad, make_sample(2)])
    assert len(batch) == 2
    assert batch.clips.shape == (2, 3, 2, 4, 4)
    assert batch.clips.dtype == torch.uint8
    assert batch.clips[:, 0, 0, 0, 0].tolist() == [1, 2]
    assert batch.labels.tolist() == [1, 2]
    assert batch.dataset_ids.tolist() == [1, 1]
    assert batch.record_ids.tolist() == [11, 12]
    assert batch.frame_indices.tolist() == [[1, 4], [2, 5]]
    assert batch.views == (VIEW, VIEW)
    assert batch.bad == (bad,)


def test_a_batch_of_bad_videos_is_empty():
    batch = collate([BadVideo(0, 7, "a.avi", "empty file")])
    assert len(batch) == 0
    assert batch.clips.shape == (0, 3, 0, 0, 0)
    assert batch.frame_indices.shape == (0, 0)
    assert batch.labels.dtype == batch.dataset_ids.dtype == batch.record_ids.dtype == torch.int64


def test_to_moves_every_tensor():
    batch = collate([make_sample(1)]).to("meta", non_blocking=True)
    tensors = (batch.clips, batch.labels, batch.dataset_ids, batch.record_ids, batch.frame_indices)
    assert {t.device.type for t in tensors} == {"meta"}
    assert batch.views == (VIEW,)


def test_a_batch_passes_between_processes():
    batch = pickle.loads(pickle.dumps(collate([make_sample(1)])))
    assert batch.record_ids.tolist() == [11]
