"""Checks of a config before any data is read: each key by its table entry, then across keys."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from fvcore.common.config import CfgNode

from videokd.config.keys import find_key
from videokd.config.schema import leaves
from videokd.utils.errors import InputError


def check_config(cfg: CfgNode) -> None:
    """Check every value that can be checked without reading data.

    The names and options of losses are checked by the builder that knows them.

    Raises:
        InputError: A value is not allowed; the message states the allowed values.
    """
    for name, value in leaves(cfg):
        key = find_key(name)
        assert key is not None, name
        key.check(name, value)
    for name, node in cfg.DATASETS.items():
        _check_dataset(f"DATASETS.{name}", node)
    for section in ("EXPERTS", "STUDENTS"):
        for name, node in cfg[section].items():
            _check_network(f"{section}.{name}", node, cfg.DATA.CROP_SIZE)
            _check_weights(f"{section}.{name}", node)
    datasets = list(cfg.DATASETS)
    _require(
        bool(datasets),
        "DATASETS is empty: name at least one dataset, see configs/demo/mlfd.yaml",
    )
    for section in ("EXPERTS", "STUDENTS"):
        _require(
            sorted(cfg[section]) == sorted(datasets),
            f"{section} must name the same datasets as DATASETS: got {sorted(cfg[section])}, "
            f"DATASETS has {sorted(datasets)}",
        )
    _check_data(cfg)
    _check_solver(cfg.SOLVER)
    _check_train(cfg.TRAIN)
    _check_joint(cfg.JOINT, datasets)
    _check_distill(cfg)


def _require(is_right: bool, message: str) -> None:
    if not is_right:
        raise InputError(message)


def _require_choice(key: str, value: Any, allowed: Sequence[Any]) -> None:
    _require(value in allowed, f"{key} must be one of {', '.join(allowed)}; got {value!r}")


def _check_dataset(prefix: str, node: CfgNode) -> None:
    _require(bool(node.SEPARATOR), f"{prefix}.SEPARATOR must be auto or some characters, got ''")
    try:
        re.compile(node.GROUP_PATTERN)
    except re.error as error:
        raise InputError(
            f"{prefix}.GROUP_PATTERN {node.GROUP_PATTERN!r} is no regular expression: {error}"
        ) from error
    _check_pairs(f"{prefix}.LEFT_RIGHT_PAIRS", node.LEFT_RIGHT_PAIRS, "[name, name]")
    _require(
        not node.LEFT_RIGHT_PAIRS or node.FLIP not in ("keep", "off"),
        f"{prefix}.LEFT_RIGHT_PAIRS is not read with FLIP {node.FLIP}; set FLIP to swap or auto",
    )


def _check_network(prefix: str, node: CfgNode, box_size: int) -> None:
    _require(
        not (node.COMPILE and node.CHECKPOINT_ACTIVATIONS),
        f"{prefix}.COMPILE and {prefix}.CHECKPOINT_ACTIVATIONS do not go together yet: recomputed "
        "activations would count twice in the norms' statistics; set one of them to False",
    )
    _check_colors(f"{prefix}.MEAN", node.MEAN, low_allowed=True)
    _check_colors(f"{prefix}.STD", node.STD, low_allowed=False)
    key = f"{prefix}.CROP_SIZE"
    _require(
        node.CROP_SIZE in (-1, 0) or node.CROP_SIZE >= 8,
        f"{key} must be 0 (= DATA.CROP_SIZE), -1 (= that of ARCH) or >= 8, got {node.CROP_SIZE}",
    )
    _require(
        box_size >= node.CROP_SIZE,
        f"{key} {node.CROP_SIZE} must be <= DATA.CROP_SIZE {box_size}, the box that every "
        "network's crop is resized from; set DATA.CROP_SIZE and DATA.SHORT_SIDE for the largest "
        "crop",
    )


def _check_colors(key: str, values: Sequence[Any], *, low_allowed: bool) -> None:
    are_numbers = all(type(value) in (int, float) for value in values)
    _require(
        len(values) in (0, 3) and are_numbers,
        f"{key} must hold 3 numbers (R, G, B), or none for those of ARCH, got {values}",
    )
    if not all(0 <= value <= 1 and (low_allowed or value > 0) for value in values):
        low = "0 <=" if low_allowed else "0 <"
        divided = [round(value / 255, 6) for value in values]
        hint = f"; divide those of 0 .. 255 by 255: {divided}" if max(values) > 1 else ""
        raise InputError(f"{key} must be {low} x <= 1, for RGB in [0, 1], got {values}{hint}")


def _check_pairs(key: str, pairs: Sequence[Any], wanted: str) -> None:
    for pair in pairs:
        is_pair = isinstance(pair, list | tuple) and len(pair) == 2
        are_words = is_pair and all(isinstance(word, str) for word in pair)
        _require(are_words, f"{key} must hold {wanted}, got {pair!r}")


def _check_weights(prefix: str, node: CfgNode) -> None:
    _check_pairs(f"{prefix}.WEIGHTS_RENAME", node.WEIGHTS_RENAME, "[pattern, replacement]")
    for pattern, replacement in node.WEIGHTS_RENAME:
        try:
            # Also checks the replacement, which may name groups that the pattern does not have.
            re.sub(f"{pattern}|", replacement, "")
        except (re.error, IndexError) as error:
            raise InputError(
                f"{prefix}.WEIGHTS_RENAME {[pattern, replacement]} is no regular expression with "
                f"its replacement: {error}"
            ) from error
    _require(
        node.TRAIN or prefix.startswith("EXPERTS."),
        f"{prefix}.TRAIN must be True: only an expert can be ready-made",
    )
    unread = "WEIGHTS_RENAME" if node.WEIGHTS_RENAME else "" if node.TRAIN else "TRAIN False"
    _require(
        node.WEIGHTS != "random" or not unread,
        f"{prefix}.{unread} needs {prefix}.WEIGHTS, which is random",
    )
    _require(
        node.TRAIN or not (node.BASE_LR or node.MAX_EPOCH),
        f"{prefix}.BASE_LR and MAX_EPOCH are not read with TRAIN False",
    )


def _check_data(cfg: CfgNode) -> None:
    data, batch_size = cfg.DATA, cfg.TRAIN.BATCH_SIZE
    for key in ("TRAIN_SCALE_RANGE", "TRAIN_RATIO_RANGE"):
        pair = data[key]
        _require(
            len(pair) == 2 and 0 < pair[0] <= pair[1],
            f"DATA.{key} must be [low, high] with 0 < low <= high, got {pair}",
        )
    _require(
        data.TRAIN_SCALE_RANGE[1] <= 1,
        f"DATA.TRAIN_SCALE_RANGE is a share of the frame: at most 1, got {data.TRAIN_SCALE_RANGE}",
    )
    _require(
        data.CROP_SIZE <= data.SHORT_SIDE,
        f"DATA.CROP_SIZE {data.CROP_SIZE} must be <= DATA.SHORT_SIDE {data.SHORT_SIDE}",
    )
    scales = list(data.TRAIN_JITTER_SCALES)
    _require(
        not scales or (len(scales) == 2 and data.CROP_SIZE <= scales[0] <= scales[1]),
        "DATA.TRAIN_JITTER_SCALES must be [] or [low, high] with DATA.CROP_SIZE "
        f"{data.CROP_SIZE} <= low <= high, got {scales}",
    )
    repeats, num_clips = data.REPEATED_AUG, data.VIEWS_PER_VIDEO
    _require(
        batch_size % repeats == 0,
        f"DATA.REPEATED_AUG {repeats} must divide TRAIN.BATCH_SIZE {batch_size}",
    )
    _require(
        num_clips == 0 or num_clips >= repeats,
        f"DATA.REPEATED_AUG {repeats} takes so many different clips of a video, "
        f"DATA.VIEWS_PER_VIDEO allows {num_clips}; raise that, or set it to 0",
    )
    _require(
        batch_size // 2 >= cfg.TRAIN.ACCUMULATE,
        f"TRAIN.ACCUMULATE {cfg.TRAIN.ACCUMULATE} must leave 2 clips or more to each part of "
        f"TRAIN.BATCH_SIZE {batch_size}: at most {batch_size // 2}",
    )


def _check_solver(solver: CfgNode) -> None:
    bounds = [0, *solver.STEPS, 1]
    _require(
        all(low < high for low, high in pairwise(bounds)),
        f"SOLVER.STEPS must be rising fractions of the training in (0, 1), got {solver.STEPS}",
    )
    _require(
        (solver.LR_POLICY == "step") == (len(solver.STEPS) > 0),
        "SOLVER.STEPS is needed with SOLVER.LR_POLICY step, and with no other: got "
        f"{solver.STEPS} with {solver.LR_POLICY}",
    )


def _check_train(train: CfgNode) -> None:
    steps, loggers = list(train.PROFILE_STEPS), list(train.LOGGERS)
    are_counts = all(type(step) is int for step in steps)
    _require(
        not steps or (are_counts and len(steps) == 2 and 1 <= steps[0] <= steps[1]),
        f"TRAIN.PROFILE_STEPS must be [] or [first, last] with 1 <= first <= last, got {steps}",
    )
    _require(
        len(set(loggers)) == len(loggers),
        f"TRAIN.LOGGERS must name each logger once, got {loggers}",
    )


def _check_joint(joint: CfgNode, datasets: Sequence[str]) -> None:
    levels, experts = list(joint.LEVELS), list(joint.EXPERTS)
    _require(
        levels == sorted(set(levels)),
        f"JOINT.LEVELS must name each level once, from low to high, got {levels}",
    )
    for name in experts:
        _require_choice("JOINT.EXPERTS", name, datasets)
    _require(
        experts == [name for name in datasets if name in experts],
        "JOINT.EXPERTS must name each expert once, in the order of DATASETS "
        f"({', '.join(datasets)}), got {experts}",
    )
    _require_choice("JOINT.SHAPES_FROM", joint.SHAPES_FROM, ["first", *datasets])


def _check_distill(cfg: CfgNode) -> None:
    distill = cfg.DISTILL
    is_mixed = cfg.MIXUP.ALPHA > 0 or cfg.MIXUP.CUTMIX_ALPHA > 0
    _require(
        distill.W_KD + distill.W_FEAT + distill.W_CE > 0,
        "DISTILL.W_KD, W_FEAT and W_CE are all 0: nothing would be learnt",
    )
    _require(
        not is_mixed or distill.TEACHING != "fixed",
        "DISTILL.TEACHING fixed gives the teacher other clips than the student, which cannot be "
        "mixed alike; set MIXUP.ALPHA and MIXUP.CUTMIX_ALPHA to 0, or TEACHING consistent",
    )
    _require(
        not is_mixed or distill.CACHE_GIB == 0,
        "DISTILL.CACHE_GIB caches outputs for unmixed clips; set it, or MIXUP.ALPHA and "
        "MIXUP.CUTMIX_ALPHA, to 0",
    )
    _require(
        distill.CACHE_GIB == 0 or cfg.DATA.VIEWS_PER_VIDEO > 0,
        "DISTILL.CACHE_GIB caches outputs for clips that come again; set DATA.VIEWS_PER_VIDEO to "
        "their number per video, or DISTILL.CACHE_GIB to 0",
    )
