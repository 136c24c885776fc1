"""Checks of config values, per key and across keys, made before any data is read."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from fvcore.common.config import CfgNode

from videokd.config.defaults import LEVEL_NAMES
from videokd.utils.errors import InputError

LR_POLICIES = ("cosine", "step", "one_cycle", "constant")
SCHEDULES = ("constant", "rising", "falling")
BASELINES = ("B1", "B2", "B3", "B4", "B5", "B7")  # B6 is the joint teacher, always trained

_CHOICES: dict[str, Sequence[Any]] = {
    "DATA.AUGMENT_ON": ("worker", "device"),
    "DATA.DECODER": ("auto", "pyav", "decord", "torchcodec"),
    "DATA.MIX": ("proportional", "balanced", "temperature", "round_robin"),
    "DATA.SAMPLER": ("dense", "segments", "non_local"),
    "DATA.SHORT_VIDEO": ("clamp", "loop"),
    "DISTILL.CLIPS": ("own", "all"),
    "DISTILL.FEATURE_LOSS": (
        *("mse", "smooth_l1_cosine", "attention", "relational", "similarity"),
    ),
    "DISTILL.LOGIT_LOSS": ("kd", "dkd", "dist"),
    "DISTILL.PROJECTOR": ("auto", "always"),
    "DISTILL.STANDARDISE": ("none", "running", "phi_s"),
    "DISTILL.TEACHING": ("consistent", "fixed"),
    "JOINT.FINE_TUNE": ("none", "last_stage", "all"),
    "JOINT.SCOPE": ("all", "target"),
    "JOINT.STANDARDISE": ("none", "batch_norm", "running", "phi_s"),
    "JOINT.TOPOLOGY": ("pyramid", "trunk"),
    "SOLVER.LR_POLICY": LR_POLICIES,
    "SOLVER.OPTIMIZER": ("adamw", "sgd"),
    "SYNTHETIC.PROFILE": ("tiny", "demo", "full"),
    "TEST.CLIP_RULE": ("segment_centres", "end_inclusive"),
    "TEST.NUM_SPATIAL_CROPS": (1, 3, 5),
}
_EACH_CHOICES: dict[str, Sequence[Any]] = {
    "BASELINES": BASELINES,
    "JOINT.LEVELS": LEVEL_NAMES,
    "EXPORT.FORMATS": ("pth", "safetensors", "onnx"),
    "TRAIN.LOGGERS": ("tensorboard", "wandb"),
}
_DATASET_CHOICES: dict[str, Sequence[Any]] = {
    "FORMAT": ("ucf101", "hmdb51", "kinetics", "ssv2", "list", "folder"),
    "FLIP": ("auto", "keep", "swap", "off"),
    "SPLIT": (1, 2, 3),
}
_MODEL_CHOICES: dict[str, Sequence[Any]] = {
    "PRECISION": ("float32", "bf16", "fp16"),
    "MEMORY_FORMAT": ("contiguous", "channels_last_3d"),
    "COLOR_ORDER": ("arch", "rgb", "bgr"),
}
# key -> (low, high, low is allowed); the high end is always allowed.
_RANGES: dict[str, tuple[float, float, bool]] = {
    "AUG.RAND_NUM_OPS": (0, 100, True),
    "AUG.RAND_MAGNITUDE": (0, 10, True),
    "AUG.ERASE_PROBABILITY": (0, 1, True),
    "AUG.SATURATION_JITTER": (0, 1, True),
    "DATA.NUM_FRAMES": (1, 1024, True),
    "DATA.SAMPLING_RATE": (1, 1024, True),
    "DATA.TARGET_FPS": (0, 1000, True),
    "DATA.SHORT_SIDE": (8, 4096, True),
    "DATA.CROP_SIZE": (8, 4096, True),
    "DATA.COLOR_JITTER": (0, 1, True),
    "DATA.VAL_FRACTION": (0, 0.5, True),
    "DATA.MAX_BAD_FRACTION": (0, 1, True),
    "DATA.FRAME_CACHE_MAX_GIB": (0, 1e6, False),
    "DATA_LOADER.NUM_WORKERS": (-1, 1024, True),
    "DATA_LOADER.NUM_THREADS": (0, 1024, True),
    "DATA_LOADER.TIMEOUT_SEC": (0, 1e6, False),
    "DATA.MIX_TEMPERATURE": (1, 1e6, True),
    "DATA.REPEATED_AUG": (1, 1e6, True),
    "DATA.VIEWS_PER_VIDEO": (0, 1e6, True),
    "JOINT.EXPERT_DROP": (0, 0.99, True),
    "JOINT.FINE_TUNE_LR_SCALE": (0, 1e3, False),
    "JOINT.WIDTH": (1, 1e5, True),
    "JOINT.DROPOUT": (0, 0.99, True),
    "JOINT.BASE_LR": (0, 1e3, True),
    "JOINT.MAX_EPOCH": (0, 1e6, True),
    "DISTILL.W_KD": (0, 1e6, True),
    "DISTILL.W_FEAT": (0, 1e6, True),
    "DISTILL.W_CE": (0, 1e6, True),
    "DISTILL.TEMPERATURE": (0, 1e3, False),
    "DISTILL.DKD_ALPHA": (0, 1e6, True),
    "DISTILL.DKD_BETA": (0, 1e6, True),
    "DISTILL.DIST_BETA": (0, 1e6, True),
    "DISTILL.DIST_GAMMA": (0, 1e6, True),
    "DISTILL.TEACHER_DROP": (0, 0.99, True),
    "DISTILL.CACHE_GIB": (0, 1e6, True),
    "MIXUP.ALPHA": (0, 1e3, True),
    "MIXUP.CUTMIX_ALPHA": (0, 1e3, True),
    "SOLVER.BASE_LR": (0, 1e3, False),
    "SOLVER.BASE_BATCH_SIZE": (0, 1e6, True),
    "SOLVER.LAYER_DECAY": (0, 1, False),
    "SOLVER.PRECISE_BN_BATCHES": (0, 1e6, True),
    "SOLVER.BETA2": (0, 0.99999, False),
    "SOLVER.WEIGHT_DECAY": (0, 1e3, True),
    "SOLVER.MAX_EPOCH": (1, 1e6, True),
    "SOLVER.WARMUP_EPOCHS": (0, 1e6, True),
    "SOLVER.CLIP_GRAD_NORM": (0, 1e6, True),
    "SOLVER.EMA_DECAY": (0, 0.99999, True),
    "SYNTHETIC.SEED": (0, 2**31 - 1, True),
    "TRAIN.BATCH_SIZE": (2, 1e6, True),
    "TRAIN.ACCUMULATE": (1, 1e6, True),
    "TRAIN.MAX_SKIPPED_STEPS": (0, 1e6, True),
    "TRAIN.LOG_PERIOD": (1, 1e9, True),
    "TRAIN.EVAL_PERIOD": (0, 1e6, True),
    "TRAIN.CHECKPOINT_PERIOD_SEC": (0, 1e9, False),
    "TRAIN.NUM_CHECKPOINTS": (1, 1e6, True),
    "TRAIN.RANK_TIMEOUT_SEC": (1, 1e6, True),
    "TEST.NUM_ENSEMBLE_VIEWS": (1, 1000, True),
    "TEST.BATCH_SIZE": (1, 1e6, True),
    "SEED": (0, 2**31 - 1, True),
}
_MODEL_RANGES: dict[str, tuple[float, float, bool]] = {
    "NUM_FRAMES": (-1, 1024, True),
    "SAMPLING_RATE": (-1, 1024, True),
    "CROP_SIZE": (-1, 4096, True),
    "WIDTH_FACTOR": (0, 16, False),
    "DEPTH_FACTOR": (0, 16, False),
    "DROPOUT": (0, 0.99, True),
    "BASE_LR": (0, 1e3, True),
    "MAX_EPOCH": (0, 1e6, True),
}


def validate_config(cfg: CfgNode) -> None:
    """Check every value that can be checked without reading data.

    Raises:
        InputError: A value is not allowed; the message states the allowed values.
    """
    for key, allowed in _CHOICES.items():
        _check_choice(key, _get(cfg, key), allowed)
    for key, allowed in _EACH_CHOICES.items():
        for value in _get(cfg, key):
            _check_choice(key, value, allowed)
    for key, limits in _RANGES.items():
        _check_range(key, _get(cfg, key), limits)
    for name, node in cfg.DATASETS.items():
        _check_dataset(f"DATASETS.{name}", node)
    for section in ("EXPERTS", "STUDENTS"):
        for name, node in cfg[section].items():
            _check_model(f"{section}.{name}", node)
            _check_crop(f"{section}.{name}.CROP_SIZE", node.CROP_SIZE, cfg.DATA.CROP_SIZE)
            _check_weights(f"{section}.{name}", node)
    _check_across(cfg)


def _check_dataset(prefix: str, node: CfgNode) -> None:
    for key, allowed in _DATASET_CHOICES.items():
        _check_choice(f"{prefix}.{key}", node[key], allowed)
    _check_range(f"{prefix}.LOSS_WEIGHT", node.LOSS_WEIGHT, (0, 1e6, False))
    if not node.SEPARATOR:
        raise InputError(f"{prefix}.SEPARATOR must be auto or some characters, got ''")
    try:
        re.compile(node.GROUP_PATTERN)
    except re.error as error:
        raise InputError(
            f"{prefix}.GROUP_PATTERN {node.GROUP_PATTERN!r} is no regular expression: {error}"
        ) from error
    pairs = node.LEFT_RIGHT_PAIRS
    for pair in pairs:
        is_pair = isinstance(pair, list | tuple) and len(pair) == 2
        if not (is_pair and all(isinstance(name, str) for name in pair)):
            raise InputError(f"{prefix}.LEFT_RIGHT_PAIRS must hold [name, name], got {pair!r}")
    if pairs and node.FLIP in ("keep", "off"):
        raise InputError(
            f"{prefix}.LEFT_RIGHT_PAIRS is not read with FLIP {node.FLIP}; set FLIP to swap or auto"
        )


def _check_model(prefix: str, node: CfgNode) -> None:
    for key, allowed in _MODEL_CHOICES.items():
        _check_choice(f"{prefix}.{key}", node[key], allowed)
    for key, limits in _MODEL_RANGES.items():
        _check_range(f"{prefix}.{key}", node[key], limits)
    if node.COMPILE and node.CHECKPOINT_ACTIVATIONS:
        raise InputError(
            f"{prefix}.COMPILE and {prefix}.CHECKPOINT_ACTIVATIONS do not go together yet: what is "
            "computed again would count twice in the norms' statistics; set one of them to False"
        )
    _check_colors(f"{prefix}.MEAN", node.MEAN, low_allowed=True)
    _check_colors(f"{prefix}.STD", node.STD, low_allowed=False)


def _check_colors(key: str, values: Sequence[Any], *, low_allowed: bool) -> None:
    are_numbers = all(type(value) in (int, float) for value in values)
    if len(values) not in (0, 3) or not are_numbers:
        raise InputError(
            f"{key} must hold 3 numbers (R, G, B), or none for those of ARCH, got {values}"
        )
    if not all(0 <= value <= 1 and (low_allowed or value > 0) for value in values):
        low = "0 <=" if low_allowed else "0 <"
        divided = [round(value / 255, 6) for value in values]
        hint = f"; divide those of 0 .. 255 by 255: {divided}" if max(values) > 1 else ""
        raise InputError(f"{key} must be {low} x <= 1, for RGB in [0, 1], got {values}{hint}")


def _check_weights(prefix: str, node: CfgNode) -> None:
    for pair in node.WEIGHTS_RENAME:
        is_pair = isinstance(pair, list | tuple) and len(pair) == 2
        if not (is_pair and all(isinstance(text, str) for text in pair)):
            raise InputError(
                f"{prefix}.WEIGHTS_RENAME must hold [pattern, replacement], got {pair!r}"
            )
        try:
            # Also checks the replacement, which may name groups that the pattern does not have.
            re.sub(f"{pair[0]}|", pair[1], "")
        except (re.error, IndexError) as error:
            raise InputError(
                f"{prefix}.WEIGHTS_RENAME {list(pair)} is no regular expression with its "
                f"replacement: {error}"
            ) from error
    if not node.TRAIN and prefix.startswith("STUDENTS."):
        raise InputError(f"{prefix}.TRAIN must be True: only an expert can be ready-made")
    if node.WEIGHTS == "random":
        unread = (
            "WEIGHTS_RENAME" if node.WEIGHTS_RENAME else "TRAIN False" if not node.TRAIN else ""
        )
        if unread:
            raise InputError(f"{prefix}.{unread} needs {prefix}.WEIGHTS, which is random")
    if not node.TRAIN and (node.BASE_LR or node.MAX_EPOCH):
        raise InputError(f"{prefix}.BASE_LR and MAX_EPOCH are not read with TRAIN False")


def _check_crop(key: str, crop_size: int, box_size: int) -> None:
    if 0 < crop_size < 8:
        raise InputError(
            f"{key} must be 0 (= DATA.CROP_SIZE), -1 (= that of ARCH) or >= 8, got {crop_size}"
        )
    if crop_size > box_size:
        raise InputError(
            f"{key} {crop_size} must be <= DATA.CROP_SIZE {box_size}, the box that every network's "
            "crop is resized from; set DATA.CROP_SIZE and DATA.SHORT_SIDE for the largest crop"
        )


def _check_across(cfg: CfgNode) -> None:
    datasets = list(cfg.DATASETS)
    if not datasets:
        raise InputError("DATASETS is empty: name at least one dataset, see configs/demo/mlfd.yaml")
    for section in ("EXPERTS", "STUDENTS"):
        if sorted(cfg[section]) != sorted(datasets):
            raise InputError(
                f"{section} must name the same datasets as DATASETS: "
                f"got {sorted(cfg[section])}, DATASETS has {sorted(datasets)}"
            )
    if list(cfg.JOINT.LEVELS) != sorted(set(cfg.JOINT.LEVELS)):
        raise InputError(
            f"JOINT.LEVELS must name each level once, from low to high, got {cfg.JOINT.LEVELS}"
        )
    if cfg.TRAIN.ACCUMULATE > cfg.TRAIN.BATCH_SIZE // 2:
        raise InputError(
            f"TRAIN.ACCUMULATE {cfg.TRAIN.ACCUMULATE} must leave 2 clips or more to each part of "
            f"TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE}: at most {cfg.TRAIN.BATCH_SIZE // 2}"
        )
    _check_joint(cfg, datasets)
    _check_teaching(cfg)
    _check_choice("JOINT.SHAPES_FROM", cfg.JOINT.SHAPES_FROM, ["first", *datasets])
    for key in ("DATA.TRAIN_SCALE_RANGE", "DATA.TRAIN_RATIO_RANGE"):
        pair = _get(cfg, key)
        if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
            raise InputError(f"{key} must be [low, high] with 0 < low <= high, got {pair}")
    if cfg.DATA.TRAIN_SCALE_RANGE[1] > 1:
        raise InputError(
            f"DATA.TRAIN_SCALE_RANGE is a part of the frame: at most 1, got "
            f"{cfg.DATA.TRAIN_SCALE_RANGE}"
        )
    if cfg.DATA.CROP_SIZE > cfg.DATA.SHORT_SIDE:
        raise InputError(
            f"DATA.CROP_SIZE {cfg.DATA.CROP_SIZE} must be <= DATA.SHORT_SIDE {cfg.DATA.SHORT_SIDE}"
        )
    scales = list(cfg.DATA.TRAIN_JITTER_SCALES)
    if scales and (len(scales) != 2 or not cfg.DATA.CROP_SIZE <= scales[0] <= scales[1]):
        raise InputError(
            "DATA.TRAIN_JITTER_SCALES must be [] or [low, high] with DATA.CROP_SIZE "
            f"{cfg.DATA.CROP_SIZE} <= low <= high, got {scales}"
        )
    _check_repeats(cfg)
    _check_steps(cfg.SOLVER)
    _check_logs(cfg)
    if cfg.DISTILL.W_KD + cfg.DISTILL.W_FEAT + cfg.DISTILL.W_CE <= 0:
        raise InputError("DISTILL.W_KD, W_FEAT and W_CE are all 0: nothing would be learnt")


def _check_repeats(cfg: CfgNode) -> None:
    repeats, num_views = cfg.DATA.REPEATED_AUG, cfg.DATA.VIEWS_PER_VIDEO
    if cfg.TRAIN.BATCH_SIZE % repeats:
        raise InputError(
            f"DATA.REPEATED_AUG {repeats} must divide TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE}"
        )
    if 0 < num_views < repeats:
        raise InputError(
            f"DATA.REPEATED_AUG {repeats} takes so many different views of a video, "
            f"DATA.VIEWS_PER_VIDEO allows {num_views}; raise that, or set it to 0"
        )


def _check_steps(solver: CfgNode) -> None:
    bounds = [0, *solver.STEPS, 1]
    if any(not low < high for low, high in pairwise(bounds)):
        raise InputError(
            f"SOLVER.STEPS must be rising shares of the training in (0, 1), got {solver.STEPS}"
        )
    if (solver.LR_POLICY == "step") != (len(solver.STEPS) > 0):
        raise InputError(
            "SOLVER.STEPS says when the rate falls with SOLVER.LR_POLICY step, and with no other: "
            f"got {solver.STEPS} with {solver.LR_POLICY}"
        )


def _check_logs(cfg: CfgNode) -> None:
    steps, loggers = list(cfg.TRAIN.PROFILE_STEPS), list(cfg.TRAIN.LOGGERS)
    are_counts = all(type(step) is int for step in steps)
    if steps and not (are_counts and len(steps) == 2 and 1 <= steps[0] <= steps[1]):
        raise InputError(
            f"TRAIN.PROFILE_STEPS must be [] or [first, last] with 1 <= first <= last, got {steps}"
        )
    if len(set(loggers)) != len(loggers):
        raise InputError(f"TRAIN.LOGGERS must name each logger once, got {loggers}")


def _check_joint(cfg: CfgNode, datasets: Sequence[str]) -> None:
    for name in cfg.JOINT.EXPERTS:
        _check_choice("JOINT.EXPERTS", name, datasets)
    if list(cfg.JOINT.EXPERTS) != [name for name in datasets if name in cfg.JOINT.EXPERTS]:
        raise InputError(
            f"JOINT.EXPERTS must name each expert once, in the order of DATASETS "
            f"({', '.join(datasets)}), got {cfg.JOINT.EXPERTS}"
        )


def _check_teaching(cfg: CfgNode) -> None:
    distill = cfg.DISTILL
    for level, schedule in distill.LEVEL_SCHEDULES.items():
        _check_choice(f"DISTILL.LEVEL_SCHEDULES.{level}", schedule, SCHEDULES)
    for level, weight in distill.LEVEL_WEIGHTS.items():
        _check_range(f"DISTILL.LEVEL_WEIGHTS.{level}", weight, (0, 1e6, True))
    is_mixed = cfg.MIXUP.ALPHA > 0 or cfg.MIXUP.CUTMIX_ALPHA > 0
    if is_mixed and distill.LOGIT_LOSS == "dkd":
        raise InputError(
            "DISTILL.LOGIT_LOSS dkd needs clips of one class each; set MIXUP.ALPHA and "
            "MIXUP.CUTMIX_ALPHA to 0, or choose kd or dist"
        )
    if is_mixed and distill.TEACHING == "fixed":
        raise InputError(
            "DISTILL.TEACHING fixed shows the teacher other clips than the student, which cannot "
            "be mixed alike; set MIXUP.ALPHA and MIXUP.CUTMIX_ALPHA to 0, or TEACHING consistent"
        )
    if distill.CLIPS == "all" and distill.LOGIT_LOSS == "dkd":
        raise InputError(
            "DISTILL.LOGIT_LOSS dkd needs a label of the student's dataset for each clip; set "
            "DISTILL.CLIPS own, or choose kd or dist"
        )
    crossing = {distill.FEATURE_LOSS, distill.LOGIT_LOSS} & {"relational", "similarity", "dist"}
    if distill.TEACHER_DROP > 0 and crossing:
        raise InputError(
            f"DISTILL.TEACHER_DROP needs a loss per clip, {max(crossing)} compares clips; set it "
            "to 0, or FEATURE_LOSS mse, smooth_l1_cosine or attention and LOGIT_LOSS kd or dkd"
        )
    if distill.CACHE_GIB > 0 and is_mixed:
        raise InputError(
            "DISTILL.CACHE_GIB keeps what is said of whole clips; set it, or MIXUP.ALPHA and "
            "MIXUP.CUTMIX_ALPHA, to 0"
        )
    if distill.CACHE_GIB > 0 and not cfg.DATA.VIEWS_PER_VIDEO:
        raise InputError(
            "DISTILL.CACHE_GIB keeps what is said of views that come again; set "
            "DATA.VIEWS_PER_VIDEO to their number, or DISTILL.CACHE_GIB to 0"
        )


def _get(cfg: CfgNode, key: str) -> Any:
    node: Any = cfg
    for name in key.split("."):
        node = node[name]
    return node


def _check_choice(key: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise InputError(f"{key} must be one of {', '.join(map(str, allowed))}; got {value!r}")


def _check_range(key: str, value: float, limits: tuple[float, float, bool]) -> None:
    low, high, low_allowed = limits
    above = value >= low if low_allowed else value > low
    if not (above and value <= high):
        sign = ">=" if low_allowed else ">"
        raise InputError(f"{key} must be {sign} {low:g} and <= {high:g}, got {value!r}")
