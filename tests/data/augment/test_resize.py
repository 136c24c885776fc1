import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videokd.data.augment.resize import resize_bytes


def make_frames(height, width, shape=(2, 3)):
    return torch.randint(0, 256, (*shape, height, width), dtype=torch.uint8)


def resize_by_torch(frames, size):
    frames = frames.contiguous(memory_format=torch.channels_last)
    return F.interpolate(frames, (size, size), mode="bilinear", antialias=True)


def test_every_size_equals_torch_bit_for_bit():
    sizes = np.random.default_rng(0).integers(1, 130, (300, 3)).tolist()
    for height, width, size in [*sizes, (720, 1280, 112), (3, 2, 224), (56, 56, 56), (1, 1, 9)]:
        frames = make_frames(height, width)
        resized = resize_bytes(frames, size)
        assert torch.equal(resized, resize_by_torch(frames, size)), (height, width, size)


def test_white_stays_white_and_an_edge_rings_nowhere():
    frames = torch.full((3, 1, 97, 61), 255, dtype=torch.uint8)
    assert (resize_bytes(frames, 32) == 255).all()
    frames[..., :30] = 0
    across = resize_bytes(frames, 50)[0, 0, 0].int()
    assert (across.diff() >= 0).all()


def test_a_cut_out_part_is_resized_like_a_copy_of_it():
    part = make_frames(40, 50)[..., 3:33, 5:40]
    assert torch.equal(resize_bytes(part, 16), resize_bytes(part.contiguous(), 16))


def test_the_same_size_changes_nothing():
    frames = make_frames(16, 16)
    assert torch.equal(resize_bytes(frames, 16), frames)


@pytest.mark.parametrize("size", [8, 64])
def test_no_value_on_the_device_is_read(size):
    # Reading one from a meta tensor, which has none, is an error.
    frames = make_frames(20, 30).to("meta")
    assert resize_bytes(frames, size).shape == (2, 3, size, size)
