"""Cost of trainings in clip passes: a unit that does not depend on the machine.

One pass is the forward of one clip through the student of the first dataset, so that forward and
backward of that student cost 3. Other networks count by their multiply-adds relative to it (METHOD,
baselines). Convolutions, matrix products and attention are counted, on the meta device.
"""

from collections.abc import Mapping

import torch
from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.build import DatasetSplits
from videokd.pipeline.model_builder import ModelBuilder
from videokd.pipeline.step_cost import make_batch
from videokd.pipeline.step_counters import FlopCounter, all_tensors
from videokd.pipeline.training import Training

# Fingerprint -> result of ``count_step_flops``: a study asks for a training under many plans.
_COUNTS: dict[str, tuple[float, float]] = {}


class CostMeter:
    """Meter of the clip passes of an experiment's trainings.

    Args:
        cfg: The whole config.
        datasets: Dataset name -> its splits.
        builder: Builder of the config's models.
    """

    def __init__(
        self, cfg: CfgNode, datasets: Mapping[str, DatasetSplits], builder: ModelBuilder
    ) -> None:
        self._builder = builder
        self._batch_size = int(cfg.TRAIN.BATCH_SIZE)
        self._num_views = int(cfg.DATA.VIEWS_PER_VIDEO) if cfg.DISTILL.CACHE_GIB > 0 else 0
        self._num_videos = {name: len(splits.train) for name, splits in datasets.items()}
        self._num_classes = {name: splits.num_classes for name, splits in datasets.items()}
        self._unit = 2.0 * builder.multiply_adds("STUDENTS", next(iter(datasets)))

    def passes_per_clip(self, training: Training) -> float:
        """Return the passes of one clip in a step, 3 for a network like the first student."""
        return self._count_step(training)[0] / self._unit

    def of_training(self, training: Training) -> float:
        """Return the passes of one training, without those of the trainings that it needs."""
        num_clips = training.num_steps * self._batch_size
        if not num_clips:
            return 0.0
        total, frozen = self._count_step(training)
        num_frozen = num_clips
        if self._num_views:  # a cache answers every view that comes again
            videos = sum(self._num_videos[name] for name in training.trained_on)
            num_frozen = min(num_clips, videos * self._num_views)
        return ((total - frozen) * num_clips + frozen * num_frozen) / self._unit

    def of_chain(self, *trainings: Training) -> float:
        """Return the passes of trainings and of all that they need, each counted once."""
        return sum(self.of_training(training) for training in list_chain(*trainings))

    def num_parameters(self, training: Training) -> int:
        """Return the number of parameters of a training's model, those of frozen parts included."""
        with self._builder.without_weights():
            model = training.build_model()
        return sum(t.numel() for t in all_tensors(model) if isinstance(t, nn.Parameter))

    def _count_step(self, training: Training) -> tuple[float, float]:
        key = training.fingerprint
        if key not in _COUNTS:
            with self._builder.without_weights():
                _COUNTS[key] = count_step_flops(training, self._num_classes)
        return _COUNTS[key]


def list_chain(*trainings: Training) -> list[Training]:
    """Return trainings and all that they need, each once, in the order of their use."""
    found: dict[str, Training] = {}

    def add(training: Training) -> None:
        if training.fingerprint not in found:
            for needed in training.needs:
                add(needed)
            found[training.fingerprint] = training

    for training in trainings:
        add(training)
    return list(found.values())


def count_step_flops(training: Training, num_classes: Mapping[str, int]) -> tuple[float, float]:
    """Return the operations of a training step per clip: all, and those of frozen networks.

    Args:
        training: The training; its models are built with fresh weights.
        num_classes: Dataset name -> number of its classes.
    """
    device = torch.device("meta")
    with torch.random.fork_rng(devices=[]):
        batch = make_batch(training, num_classes).to(device)
        task = training.build_task(training.build_model()).to(device).train()
        with FlopCounter() as counter:
            loss = task(batch, 0.0).loss
            counter.is_forward = False
            loss.backward()
    return counter.total / len(batch), counter.frozen / len(batch)
