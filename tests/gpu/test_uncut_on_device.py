"""Batches whose clips are cut on a device; the CPU stands in where there is no GPU."""

from dataclasses import replace

import numpy as np
import torch

from videokd.data.augment import AugmentSpec, RandomErasing, apply_augmentation
from videokd.data.batch import ClipSample, collate
from videokd.data.device_clips import Cut, UncutSample

AUGMENT = AugmentSpec(flip=True, color_jitter=0.4, erasing=RandomErasing(probability=0.7))
MAIN, OTHER = np.arange(4), np.array([0, 2, 4, 4])


def _make_sample(number, height, width):
    rng = np.random.default_rng(number)
    frames = torch.from_numpy(rng.integers(0, 256, (5, height, width, 3), dtype=np.uint8))
    drawn = AUGMENT.draw(height, width, rng=rng)
    cuts = {"a": Cut(MAIN, drawn, 32), "b": Cut(OTHER, drawn, 20)}
    uncut = UncutSample(frames, cuts, {})
    return ClipSample({}, number, 0, number, drawn, torch.from_numpy(MAIN), uncut=uncut)


def _cut_alone(sample):
    frames = sample.uncut.frames.numpy()
    clips = {
        name: apply_augmentation(frames[rows], sample.augmentation, size=size)
        for name, rows, size in (("a", MAIN, 32), ("b", OTHER, 20))
    }
    return replace(sample, clips=clips, uncut=None)


def test_a_batch_comes_to_its_device_with_the_clips_of_a_worker(device):
    samples = [_make_sample(n, 40 + 3 * n, 64 - 5 * n) for n in range(4)]
    batch = collate(samples)
    if device.type == "cuda":
        batch = batch.pin_memory()
    batch, expected = batch.to(device, non_blocking=True), collate([_cut_alone(s) for s in samples])
    assert list(batch.clips) == ["a", "b"]
    for name, clips in batch.clips.items():
        assert clips.device.type == device.type
        assert torch.equal(clips.cpu(), expected.clips[name])
