"""Cost of trainings in clip passes: a unit that does not depend on the machine.

One pass is the forward of one clip through the student of the first dataset, so that forward and
backward of that student cost 3. Other networks count by their multiply-adds relative to it (METHOD,
baselines). Convolutions, matrix products and attention are counted, on the meta device.
"""

from collections.abc import Mapping
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from videokd.data.build import DatasetSplits
from videokd.pipeline.model_builder import ModelBuilder
from videokd.pipeline.step_cost import make_batch
from videokd.pipeline.step_counters import FlopCounter, all_tensors
from videokd.pipeline.training import Training
from videokd.utils.io import sha256_json

# Key of ``describe_shape`` -> result of ``count_step_flops`` or number of parameters. A study has
# hundreds of trainings of few shapes.
_COUNTS: dict[str, tuple[float, float]] = {}
_SIZES: dict[str, int] = {}

# Inputs of a training that do not change the operations of a step, and prefixes of such inputs.
_SHAPELESS = {
    *("SEED", "position", "videos", "mirror_labels", "generator"),
    *("num_epochs", "num_steps_per_epoch", "base_lr"),
}
_SHAPELESS_SECTIONS = ("SOLVER.", "TRAIN.", "AUG.")


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
        # Students of some teachers do not have the taught levels among their inputs.
        self._shapes = {"classes": self._num_classes, "levels": list(cfg.JOINT.LEVELS)}
        self.unit = 2.0 * builder.multiply_adds("STUDENTS", next(iter(datasets)))
        """Operations of one pass."""

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
        return ((total - frozen) * num_clips + frozen * num_frozen) / self.unit

    def of_chain(self, *trainings: Training) -> float:
        """Return the passes of trainings and of all that they need, each counted once."""
        return sum(self.of_training(training) for training in list_chain(*trainings))

    def num_parameters(self, training: Training) -> int:
        """Return the number of parameters of a training's model, those of frozen parts included."""
        key = describe_shape(training, self._shapes)
        if key not in _SIZES:
            with self._builder.without_weights():
                every = all_tensors(training.build_model())
            _SIZES[key] = sum(t.numel() for t in every if isinstance(t, nn.Parameter))
        return _SIZES[key]

    def _count_step(self, training: Training) -> tuple[float, float]:
        key = describe_shape(training, self._shapes)
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


def describe_shape(training: Training, others: Mapping[str, Any]) -> str:
    """Return a key of the shapes in a training: equal keys have equal operations and parameters.

    Seeds, videos, schedules, and the values of weights and rates are left out. A training that is
    needed counts by its own shapes.

    Args:
        training: The training.
        others: Values beside the inputs of trainings on which shapes depend.
    """
    shapes: dict[str, str] = {}
    for one in list_chain(training):  # each follows the trainings that it needs
        inputs = _keep_shapes(one.inputs, shapes)
        shapes[one.fingerprint] = sha256_json([one.key, one.tested_on, inputs, others])
    return shapes[training.fingerprint]


def _keep_shapes(value: Any, shapes: Mapping[str, str], name: str = "") -> Any:
    """Return the inputs of a training, or a part of them, without what changes no shape."""
    if isinstance(value, Mapping):
        return {
            key: _keep_shapes(part, shapes, key)
            for key, part in value.items()
            if key not in _SHAPELESS and not key.startswith(_SHAPELESS_SECTIONS)
        }
    if isinstance(value, list):
        return [_keep_shapes(part, shapes) for part in value]
    if isinstance(value, str):
        return shapes.get(value, value)
    # A weight of 0 switches a part off; WIDTH_FACTOR and DEPTH_FACTOR are sizes.
    is_weight = isinstance(value, float) and not name.lower().endswith("factor")
    return value != 0 if is_weight else value


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
