"""Fixtures and factories of all tests: tiny models and random batches, nothing from disk."""

import logging
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch

from videokd.data.augment import ViewParams
from videokd.data.batch import BadVideo, ClipBatch
from videokd.models.classifier import VideoClassifier
from videokd.models.zoo import Architecture, get_architecture

WIDTH_FACTORS = {"x3d_s": 0.25, "x3d_xs": 0.25, "mvit_v2_s": 1 / 6}
DEPTH_FACTORS = {"x3d_s": 0.5, "x3d_xs": 0.5, "mvit_v2_s": 0.3}


@pytest.fixture(autouse=True)
def restore_global_state() -> Iterator[None]:
    """Give every test the same random state, and leave no trace of what it did to it."""
    torch.set_num_threads(1)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    logger = logging.getLogger("videokd")
    logging_state = logger.propagate, logger.level, list(logger.handlers)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    yield
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    logger.propagate, logger.level, logger.handlers = logging_state


def tiny_architecture(name: str, *, num_frames: int = 4, crop_size: int = 32) -> Architecture:
    return get_architecture(
        name,
        num_frames=num_frames,
        crop_size=crop_size,
        width_factor=WIDTH_FACTORS.get(name, 0.125),
        depth_factor=DEPTH_FACTORS.get(name, 0.5),
    )


@pytest.fixture
def make_architecture() -> Callable[..., Architecture]:
    """``make_architecture(name, num_frames=4, crop_size=32)``: small, with every stage."""
    return tiny_architecture


@pytest.fixture
def make_classifier() -> Callable[..., VideoClassifier]:
    """``make_classifier(arch, num_classes={"a": 3}, **options of VideoClassifier)``."""

    def make(
        arch: str = "r3d_18",
        num_classes: dict[str, int] | None = None,
        *,
        num_frames: int = 4,
        crop_size: int = 32,
        **options: object,
    ) -> VideoClassifier:
        architecture = tiny_architecture(arch, num_frames=num_frames, crop_size=crop_size)
        return VideoClassifier(architecture.build_backbone(), num_classes or {"a": 3}, **options)

    return make


@pytest.fixture
def make_batch() -> Callable[..., ClipBatch]:
    """``make_batch(dataset_ids, num_classes=3)``: random uint8 clips with random labels."""

    def make(
        dataset_ids: Sequence[int] = (0, 0, 0, 0),
        *,
        num_classes: int = 3,
        num_frames: int = 4,
        crop_size: int = 32,
        bad: Sequence[BadVideo] = (),
        seed: int = 0,
    ) -> ClipBatch:
        rng = torch.Generator().manual_seed(seed)
        size = len(dataset_ids)
        shape = (size, 3, num_frames, crop_size, crop_size)
        view = ViewParams(crop=(0, 0, crop_size, crop_size))
        return ClipBatch(
            torch.randint(256, shape, dtype=torch.uint8, generator=rng),
            torch.randint(num_classes, (size,), generator=rng),
            torch.tensor(dataset_ids, dtype=torch.int64),
            torch.arange(size),
            (view,) * size,
            torch.arange(num_frames).repeat(size, 1),
            tuple(bad),
        )

    return make
