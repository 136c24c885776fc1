"""How long a unit is trained, and everything that its weights depend on: parts of a ``Unit``."""

import json
from collections.abc import Mapping
from typing import Any

from fvcore.common.config import CfgNode

from videokd.config.defaults import default_config
from videokd.data.build import DatasetParts, build_batch_plan
from videokd.data.synthetic.generate import GENERATOR_VERSION
from videokd.models.weights.source import identify_weights
from videokd.utils.errors import InputError

# Where frames and indexes are kept, which videos are held out (their digest says it), how many may
# be missing and where clips are cut: no weight depends on these.
_NOT_LEARNT_FROM = (
    *("FRAME_CACHE", "FRAME_CACHE_MAX_GIB", "INDEX_DIR"),
    *("VAL_FRACTION", "MAX_BAD_FRACTION", "AUGMENT_ON"),
)
_SCHEDULE_KEYS = ("BASE_LR", "MAX_EPOCH")
# Of a network: what it starts from stands for these, and a training of no steps for TRAIN.
_WEIGHT_KEYS = ("WEIGHTS", "WEIGHTS_RENAME", "WEIGHTS_STRICT", "TRAIN")
# Of a network: these stand for those of DATA where they are not 0.
_CLIP_KEYS = ("NUM_FRAMES", "SAMPLING_RATE", "CROP_SIZE")


class Recipe:
    """Schedules and fingerprints of a config's trainings.

    Args:
        cfg: The whole config.
        datasets: Dataset name -> its parts, in the order of DATASETS.
    """

    def __init__(self, cfg: CfgNode, datasets: Mapping[str, DatasetParts]) -> None:
        self._cfg = cfg
        self._datasets = datasets
        self._places = {name: place for place, name in enumerate(datasets)}

    def fields(self, trained_on: tuple[str, ...], node: CfgNode, **parts: Any) -> dict[str, Any]:
        """Return a unit's trained_on, schedule and inputs.

        Args:
            trained_on: Datasets.
            node: Its BASE_LR and MAX_EPOCH, where not 0, stand for those of SOLVER.
            **parts: What the weights depend on beside seed, data, solver and schedule.
        """
        cfg = self._cfg
        plan = build_batch_plan(cfg, [self._datasets[name] for name in trained_on])
        schedule = {
            "num_epochs": node.MAX_EPOCH or cfg.SOLVER.MAX_EPOCH,
            "num_steps_per_epoch": plan.num_steps_per_epoch,
            "base_lr": self._scaled(node.BASE_LR or cfg.SOLVER.BASE_LR),
        }
        synthetic = {"generator": [GENERATOR_VERSION, cfg.SYNTHETIC.SEED]}
        inputs = {
            "SEED": cfg.SEED,
            "DATA": self._data_keys(),
            "SOLVER": self._solver_keys(),
            "MIXUP": dict(cfg.MIXUP),
            "TRAIN.BATCH_SIZE": cfg.TRAIN.BATCH_SIZE,
            "TRAIN.ACCUMULATE": cfg.TRAIN.ACCUMULATE,
            "TRAIN.SYNC_BN": cfg.TRAIN.SYNC_BN,
            "trained_on": trained_on,
            "videos": {name: self._datasets[name].train.digest() for name in trained_on},
            **self._augmentation(),
            **self._mirror_labels(trained_on),
            **(synthetic if cfg.SYNTHETIC.ROOT else {}),
            **schedule,
            **parts,
        }
        # As it will be read back: without tuples and config nodes.
        plain: dict[str, Any] = json.loads(json.dumps(inputs))
        return {"trained_on": trained_on, **schedule, "inputs": plain}

    def _scaled(self, base_lr: float) -> float:
        """Return a learning rate for the batch size that there is (Goyal et al. 2017)."""
        base_batch_size = self._cfg.SOLVER.BASE_BATCH_SIZE
        if not base_batch_size:
            return base_lr
        return float(base_lr * self._cfg.TRAIN.BATCH_SIZE / base_batch_size)

    def _solver_keys(self) -> dict[str, Any]:
        # What BASE_BATCH_SIZE does is in the rate that the fingerprint holds.
        elsewhere = (*_SCHEDULE_KEYS, "BASE_BATCH_SIZE")
        return {k: v for k, v in self._cfg.SOLVER.items() if k not in elsewhere}

    def _data_keys(self) -> dict[str, Any]:
        data = self._cfg.DATA
        unread = () if data.MIX == "temperature" else ("MIX_TEMPERATURE",)
        return {k: v for k, v in data.items() if k not in (*_NOT_LEARNT_FROM, *unread)}

    def _augmentation(self) -> dict[str, Any]:
        """Return the keys of AUG that do something, if any."""
        aug, defaults = self._cfg.AUG, default_config().AUG
        keys = {k: v for k, v in aug.items() if v != defaults[k]}
        if not aug.RAND_NUM_OPS:
            keys.pop("RAND_MAGNITUDE", None)
        return {"AUG": keys} if keys else {}

    def _mirror_labels(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return what mirroring does to classes, of the datasets where it does something."""
        known = {name: self._datasets[name].train.mirror_labels for name in names}
        changing = {name: labels for name, labels in known.items() if labels != ()}
        is_mirrored = self._cfg.DATA.RANDOM_FLIP and changing
        return {"mirror_labels": changing} if is_mirrored else {}

    def network(self, section: str, name: str, *, is_random: bool = False) -> dict[str, Any]:
        """Return what a network of ``section`` depends on before it is trained.

        Args:
            section: "EXPERTS" or "STUDENTS".
            name: Of its dataset.
            is_random: It is never loaded with the section's WEIGHTS.

        Raises:
            InputError: Its WEIGHTS are not there, or no library knows them.
        """
        known = (*_SCHEDULE_KEYS, *_CLIP_KEYS, *_WEIGHT_KEYS, "CHECKPOINT_ACTIVATIONS")
        node = {k: v for k, v in self._cfg[section][name].items() if k not in known}
        weights = {} if is_random else self._weights(section, name)
        # The place seeds the initial weights.
        model = {**node, **self.clip_keys(section, name), **weights}
        return {"model": model, "place": self._places[name]}

    def ready_made(self, name: str, **parts: Any) -> dict[str, Any]:
        """Return what ``fields`` does, of an expert that is used as it is loaded.

        Args:
            name: Its dataset.
            **parts: What its weights depend on.
        """
        # Its classifier's rows are put into the order of the dataset's classes.
        inputs = {"class_names": self._datasets[name].train.class_names, **parts}
        if not self._cfg.EXPERTS[name].WEIGHTS_STRICT:
            # What is missing then is drawn.
            inputs["SEED"] = self._cfg.SEED
        plain: dict[str, Any] = json.loads(json.dumps(inputs))
        schedule = {"num_epochs": 0, "num_steps_per_epoch": 0, "base_lr": 0.0}
        return {"trained_on": (), **schedule, "inputs": plain}

    def _weights(self, section: str, name: str) -> dict[str, Any]:
        """Return what a network starts from, {} for random weights."""
        node = self._cfg[section][name]
        if not node.WEIGHTS:
            return {}
        try:
            found: dict[str, Any] = {"WEIGHTS": identify_weights(node.WEIGHTS)}
        except InputError as error:
            raise InputError(f"{section}.{name}.WEIGHTS: {error}") from error
        return {**found, "WEIGHTS_RENAME": node.WEIGHTS_RENAME} if node.WEIGHTS_RENAME else found

    def clip_keys(self, section: str, name: str) -> dict[str, int]:
        """Return the keys of a network's clips where they are not those of DATA."""
        node, data = self._cfg[section][name], self._cfg.DATA
        return {key: node[key] for key in _CLIP_KEYS if node[key] not in (0, data[key])}

    def loss_weights(self, names: tuple[str, ...]) -> dict[str, float]:
        """Return dataset name -> w_i of a training on several datasets."""
        return {name: self._cfg.DATASETS[name].LOSS_WEIGHT for name in names}
