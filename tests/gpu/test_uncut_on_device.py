"""Batches whose clips are cut on a device; the CPU stands in where there is no GPU."""

from dataclasses import replace

import numpy as np
import torch

from videokd.data.augment import AugmentSpec, RandomErasing, apply_view
from videokd.data.batch import ClipSample, collate
from videokd.data.device_clips import Cut, UncutSample

AUGMENT = AugmentSpec(flip=True, color_jitter=0.4, erasing=RandomErasing(probability=0.7))
MAIN, OTHER = torch.arange(4), torch.tensor([0, 2, 4, 4])


def _make_sample(number, height, width):
    rng = np.random.default_rng(number)
    frames = torch.from_numpy(rng.integers(0, 256, (5, height, width, 3), dtype=np.uint8))
    view = AUGMENT.draw(height, width, rng=rng)
    none = torch.empty((3, 0, 0, 0), dtype=torch.uint8)
    return ClipSample(
        none, number, 0, number, view, MAIN, clip_name="a",
        uncut=UncutSample(frames, Cut(MAIN, view, 32), {"b": Cut(OTHER, view, 20)}, {}),
    )  # fmt: skip


def _cut_alone(sample):
    frames = sample.uncut.frames.numpy()
    main, other = (apply_view(frames[r], sample.view, size=s) for r, s in ((MAIN, 32), (OTHER, 20)))
    return replace(sample, clip=main, other_clips={"b": other}, uncut=None)


def test_a_batch_comes_to_its_device_with_the_clips_of_a_worker(device):
    samples = [_make_sample(n, 40 + 3 * n, 64 - 5 * n) for n in range(4)]
    batch = collate(samples)
    if device.type == "cuda":
        batch = batch.pin_memory()
    batch, expected = batch.to(device, non_blocking=True), collate([_cut_alone(s) for s in samples])
    assert batch.clips.device.type == batch.other_clips["b"].device.type == device.type
    assert torch.equal(batch.clips.cpu(), expected.clips)
    assert torch.equal(batch.other_clips["b"].cpu(), expected.other_clips["b"])
