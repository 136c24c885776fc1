"""Builders from the DISTILL and MIXUP config nodes to the student's objective, mixing and cache."""

import torch
from fvcore.common.config import CfgNode
from torch import nn

from videokd.distill.feature_cache import FeatureCache
from videokd.distill.losses.table import LogitLoss, make_feature_loss, make_logit_loss
from videokd.distill.objective import DistillObjective, DistillOptions
from videokd.distill.projectors import Projectors
from videokd.distill.tasks import MixOptions
from videokd.fusion.standardise import PhiStandardiser, RunningStandardiser
from videokd.models.levels import LevelShapes

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
    options = DistillOptions(
        w_kd=cfg.W_KD,
        w_feat=cfg.W_FEAT,
        w_ce=cfg.W_CE,
        logit_loss=_build_logit_loss(cfg),
        feature_loss=make_feature_loss(cfg.FEATURE_LOSS),
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
        projectors = Projectors(student, teacher, levels=levels, always=cfg.PROJECTOR == "always")
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


def _build_logit_loss(cfg: CfgNode) -> LogitLoss:
    options = {
        "kd": {},
        "dkd": {"alpha": cfg.DKD_ALPHA, "beta": cfg.DKD_BETA},
        "dist": {"beta": cfg.DIST_BETA, "gamma": cfg.DIST_GAMMA},
    }[cfg.LOGIT_LOSS]
    return make_logit_loss(
        cfg.LOGIT_LOSS,
        temperature=cfg.TEMPERATURE,
        is_standardised=cfg.STANDARDISE_LOGITS,
        **options,
    )


def _channels(shapes: LevelShapes, level: str) -> int:
    return shapes.embedding_dim if level == "embedding" else shapes.levels[level][0]
