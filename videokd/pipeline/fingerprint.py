"""Schedules and fingerprint inputs of the trainings of a config."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fvcore.common.config import CfgNode

from videokd.config.keys import find_key
from videokd.config.schema import leaves
from videokd.data.build import DatasetSplits, build_batch_plan
from videokd.distill.build import resolve_losses
from videokd.models.weights.source import identify_weights
from videokd.synthetic.generate import GENERATOR_VERSION
from videokd.utils.errors import InputError

# Clip keys of a network, which override those of DATA unless they are 0.
_CLIP_KEYS = ("NUM_FRAMES", "SAMPLING_RATE", "CROP_SIZE")


class Fingerprints:
    """Schedules and fingerprint inputs of a config's trainings.

    Args:
        cfg: The whole config.
        datasets: Dataset name -> its splits, in the order of DATASETS.
    """

    def __init__(self, cfg: CfgNode, datasets: Mapping[str, DatasetSplits]) -> None:
        self._cfg = cfg
        self._datasets = datasets
        self._positions = {name: position for position, name in enumerate(datasets)}

    def fields(
        self,
        trained_on: tuple[str, ...],
        nodes: Sequence[CfgNode],
        *,
        num_epochs: int = 0,
        own: str = "",
        lr_scale: float = 1.0,
        **parts: Any,
    ) -> dict[str, Any]:
        """Return trained_on, schedule and inputs of a ``Training``.

        Args:
            trained_on: Names of the training datasets.
            nodes: Config nodes with BASE_LR and MAX_EPOCH. The first one that is not 0 counts,
                SOLVER's if all are.
            num_epochs: Epochs; 0 for those of ``nodes``.
            own: Dataset whose clips must come at least as often as in a training on it alone: more
                epochs if they are too few. "" for no such dataset.
            lr_scale: Factor on the learning rate.
            **parts: Further inputs of the weights beside seed, data, solver and schedule.
        """
        cfg = self._cfg
        plan = build_batch_plan(cfg, [self._datasets[name] for name in trained_on])
        nodes = [*nodes, cfg.SOLVER]
        num_epochs = num_epochs or next(node.MAX_EPOCH for node in nodes if node.MAX_EPOCH)
        base_lr = next(node.BASE_LR for node in nodes if node.BASE_LR)
        if own and trained_on != (own,):
            alone = self.steps_per_epoch((own,))
            share = plan.shares[trained_on.index(own)]
            num_epochs = max(
                num_epochs, math.ceil(num_epochs * alone / (plan.num_steps_per_epoch * share))
            )
        schedule = {
            "num_epochs": num_epochs,
            "num_steps_per_epoch": plan.num_steps_per_epoch,
            "base_lr": self._scaled(base_lr) * lr_scale,
        }
        synthetic = {"generator": [GENERATOR_VERSION, cfg.SYNTHETIC.SEED]}
        inputs = {
            **self.values("all"),
            "trained_on": trained_on,
            "videos": {name: self._datasets[name].train.digest() for name in trained_on},
            **self._mirror_labels(trained_on),
            **(synthetic if cfg.SYNTHETIC.ROOT else {}),
            **schedule,
            **parts,
        }
        # In the form that is read back from JSON: without tuples and config nodes.
        plain: dict[str, Any] = json.loads(json.dumps(inputs))
        return {"trained_on": trained_on, **schedule, "inputs": plain}

    def steps_per_epoch(self, names: tuple[str, ...]) -> int:
        """Return the number of steps of an epoch on datasets."""
        datasets = [self._datasets[name] for name in names]
        return build_batch_plan(self._cfg, datasets).num_steps_per_epoch

    def values(self, affects: str, *, under: str = "") -> dict[str, Any]:
        """Return the keys on which the weights of trainings depend, with their values.

        Keys whose ``Key`` is derived are left out; the other methods return what they stand for.

        Args:
            affects: Trainings, see ``AFFECTS``.
            under: Prefix of the keys; it is left out of the returned names.
        """
        found = {}
        for name, value in leaves(self._cfg):
            key = find_key(name)
            assert key is not None, name
            is_literal = key.affects == affects and not key.derived and key.is_read(self._cfg)
            if is_literal and name.startswith(under):
                found[name.removeprefix(under)] = value
        return found

    def _scaled(self, base_lr: float) -> float:
        """Return a learning rate scaled linearly to the batch size (Goyal et al. 2017)."""
        base_batch_size = self._cfg.SOLVER.BASE_BATCH_SIZE
        if not base_batch_size:
            return base_lr
        return float(base_lr * self._cfg.TRAIN.BATCH_SIZE / base_batch_size)

    def _mirror_labels(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return ``mirror_labels`` of datasets where mirroring changes labels or is not allowed."""
        known = {name: self._datasets[name].train.mirror_labels for name in names}
        changing = {name: labels for name, labels in known.items() if labels != ()}
        is_mirrored = self._cfg.DATA.RANDOM_FLIP and changing
        return {"mirror_labels": changing} if is_mirrored else {}

    def network(self, section: str, name: str, *, is_random: bool = False) -> dict[str, Any]:
        """Return the fingerprint inputs of a network before training.

        Args:
            section: "EXPERTS" or "STUDENTS".
            name: Name of the network's dataset.
            is_random: Whether the network is never loaded with the section's WEIGHTS.

        Raises:
            InputError: The WEIGHTS do not exist and no library knows them.
        """
        weights = {} if is_random else self._weights(section, name)
        # The position of the dataset seeds the initial weights.
        node = self.values("network", under=f"{section}.{name}.")
        model = {**node, **self.clip_keys(section, name), **weights}
        return {"model": model, "position": self._positions[name]}

    def distilled(self, *, has_features: bool) -> dict[str, Any]:
        """Return the fingerprint inputs of a student's losses.

        Args:
            has_features: Whether features are distilled, and not only logits.
        """
        losses = resolve_losses(self._cfg.DISTILL)
        logit_loss = losses.pop("LOGIT_LOSS")
        # Teachers other than T* are taught at its levels too, but do not depend on them.
        levels = list(self._cfg.JOINT.LEVELS)
        taught = {**self.values("features"), "feature_losses": losses, "levels": levels}
        features = taught if has_features else {}
        return {**self.values("logits"), "logit_loss": logit_loss, **features}

    def ready_made(self, name: str, **parts: Any) -> dict[str, Any]:
        """Return the same as ``fields`` for an expert that is used without training.

        Args:
            name: Name of the expert's dataset.
            **parts: Inputs of the expert's weights.
        """
        # The rows of the loaded classifier are reordered to the dataset's classes.
        inputs = {"class_names": self._datasets[name].train.class_names, **parts}
        if not self._cfg.EXPERTS[name].WEIGHTS_STRICT:
            # Weights missing from the file are then initialised at random.
            inputs["SEED"] = self._cfg.SEED
        plain: dict[str, Any] = json.loads(json.dumps(inputs))
        schedule = {"num_epochs": 0, "num_steps_per_epoch": 0, "base_lr": 0.0}
        return {"trained_on": (), **schedule, "inputs": plain}

    def _weights(self, section: str, name: str) -> dict[str, Any]:
        """Return the identity of a network's initial weights; {} for random weights."""
        node = self._cfg[section][name]
        if node.WEIGHTS == "random":
            return {}
        try:
            found: dict[str, Any] = {"WEIGHTS": identify_weights(node.WEIGHTS)}
        except InputError as error:
            raise InputError(f"{section}.{name}.WEIGHTS: {error}") from error
        return {**found, "WEIGHTS_RENAME": node.WEIGHTS_RENAME} if node.WEIGHTS_RENAME else found

    def clip_keys(self, section: str, name: str) -> dict[str, int]:
        """Return the clip keys of a network that differ from those of DATA."""
        node, data = self._cfg[section][name], self._cfg.DATA
        return {key: node[key] for key in _CLIP_KEYS if node[key] not in (0, data[key])}

    def loss_weights(self, names: tuple[str, ...]) -> dict[str, float]:
        """Return dataset name -> loss weight w_i for a training on several datasets."""
        return {name: self._cfg.DATASETS[name].LOSS_WEIGHT for name in names}
