"""Builders from the DISTILL and MIXUP config nodes to the student's objective, mixing and cache."""

from collections.abc import Mapping
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from videokd.distill.feature_cache import FeatureCache
from videokd.distill.losses.table import (
    FEATURE_LOSSES,
    LOGIT_LOSSES,
    LossEntry,
    make_feature_loss,
    make_logit_loss,
    resolve_options,
)
from videokd.distill.objective import DistillObjective, DistillOptions
from videokd.distill.projectors import Projectors
from videokd.distill.tasks import MixOptions
from videokd.fusion.standardise import PhiStandardiser, RunningStandardiser
from videokd.models.levels import LevelShapes
from videokd.utils.errors import InputError

_STANDARDISERS: dict[str, type[nn.Module]] = {
    "running": RunningStandardiser,
    "phi_s": PhiStandardiser,
}


def build_objective(
    cfg: CfgNode,
    *,
    student: LevelShapes,
    teacher: LevelShapes | None,
    seed: int,
) -> DistillObjective:
    """Build the objective of a DISTILL node.

    The initial projectors depend on ``seed`` only.

    Args:
        cfg: The DISTILL node.
        student: Shapes of the student's levels.
        teacher: Shapes of the teacher's levels; None to distil logits only.
        seed: Seed of the projectors' initial weights.
    """
    losses = resolve_losses(cfg)
    options = DistillOptions(
        w_kd=cfg.W_KD,
        w_feat=cfg.W_FEAT,
        w_ce=cfg.W_CE,
        kd_schedule=cfg.W_KD_SCHEDULE,
        feat_schedule=cfg.W_FEAT_SCHEDULE,
        logit_loss=make_logit_loss(
            **losses["LOGIT_LOSS"],
            temperature=cfg.TEMPERATURE,
            is_standardised=cfg.STANDARDISE_LOGITS,
        ),
        level_losses={level: make_feature_loss(**losses[level]) for level in cfg.LEVEL_WEIGHTS},
        level_weights=dict(cfg.LEVEL_WEIGHTS),
        level_schedules=dict(cfg.LEVEL_SCHEDULES),
        teacher_drop=cfg.TEACHER_DROP,
    )
    if teacher is None:
        return DistillObjective(options)
    levels = [*teacher.levels, "embedding"]
    taught = [level for level in levels if options.weight(level) > 0 and cfg.W_FEAT > 0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projectors = Projectors(student, teacher, levels=levels, kind=cfg.PROJECTOR)
    # Projectors for all levels are drawn first, so that the initial weights of one do not depend on
    # which other levels are used.
    projectors.keep(taught)
    standardisers = {}
    if cfg.STANDARDISE != "none":
        kind = _STANDARDISERS[cfg.STANDARDISE]
        standardisers = {level: kind(_channels(teacher, level)) for level in taught}
    return DistillObjective(
        options, projectors=projectors, num_levels=len(levels), standardisers=standardisers
    )


def build_mixing(cfg: CfgNode) -> MixOptions:
    """Return the options of a MIXUP node."""
    return MixOptions(cfg.ALPHA, cfg.CUTMIX_ALPHA)


def build_cache(cfg: CfgNode) -> FeatureCache | None:
    """Build an empty cache of the DISTILL node's size; None when the cache is off."""
    return FeatureCache(int(cfg.CACHE_GIB * 2**30)) if cfg.CACHE_GIB > 0 else None


def resolve_losses(cfg: CfgNode) -> dict[str, dict[str, Any]]:
    """Return the losses of a DISTILL node with all of their options, defaults included.

    Returns:
        "LOGIT_LOSS" and level names, "embedding" included -> name and options of the loss.

    Raises:
        InputError: A loss or an option is unknown, or a value is out of range.
    """
    feature_loss = _resolve_loss(FEATURE_LOSSES, cfg.FEATURE_LOSS, "FEATURE_LOSS")
    losses = {"LOGIT_LOSS": _resolve_loss(LOGIT_LOSSES, cfg.LOGIT_LOSS, "LOGIT_LOSS")}
    for level, node in cfg.FEATURE_LOSS_AT.items():
        key = f"FEATURE_LOSS_AT.{level}"
        if node.NAME != "same":
            losses[level] = _resolve_loss(FEATURE_LOSSES, node, key)
        elif len(node) > 1:
            raise InputError(f"DISTILL.{key} has options without a NAME of its own; add the NAME")
        else:
            losses[level] = feature_loss
    return losses


def check_losses(cfg: CfgNode) -> None:
    """Check the losses of a config, their options, and whether its batches suit them.

    Args:
        cfg: The whole config.

    Raises:
        InputError: A loss or an option is unknown, out of range, or does not suit the batches.
    """
    distill, losses = cfg.DISTILL, resolve_losses(cfg.DISTILL)
    logit_loss = losses.pop("LOGIT_LOSS")["name"]
    if LOGIT_LOSSES[logit_loss].needs_labels:
        if cfg.MIXUP.ALPHA > 0 or cfg.MIXUP.CUTMIX_ALPHA > 0:
            raise InputError(
                f"DISTILL.LOGIT_LOSS {logit_loss} needs clips of one class each; set MIXUP.ALPHA "
                "and MIXUP.CUTMIX_ALPHA to 0, or choose another loss"
            )
        if distill.CLIPS == "all":
            raise InputError(
                f"DISTILL.LOGIT_LOSS {logit_loss} needs a label of the student's dataset for each "
                "clip; set DISTILL.CLIPS own, or choose another loss"
            )
    entries = {logit_loss: LOGIT_LOSSES[logit_loss]}
    entries |= {loss["name"]: FEATURE_LOSSES[loss["name"]] for loss in losses.values()}
    crossing = [name for name, entry in entries.items() if entry.compares_clips]
    if distill.TEACHER_DROP > 0 and crossing:
        raise InputError(
            f"DISTILL.TEACHER_DROP needs losses per clip, {crossing[0]} compares clips; set it to "
            "0, or choose another loss"
        )


def _resolve_loss(
    table: Mapping[str, LossEntry], node: CfgNode, key: str
) -> dict[str, str | float]:
    options = {name.lower(): value for name, value in node.items() if name != "NAME"}
    resolved = resolve_options(table, node.NAME, options, key=f"DISTILL.{key}")
    return {"name": node.NAME, **resolved}


def _channels(shapes: LevelShapes, level: str) -> int:
    return shapes.embedding_dim if level == "embedding" else shapes.levels[level][0]
