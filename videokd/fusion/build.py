"""Builder of the joint teacher from the JOINT config node."""

from collections.abc import Mapping

import torch
from fvcore.common.config import CfgNode

from videokd.fusion.joint_teacher import JointTeacher
from videokd.fusion.options import FusionOptions
from videokd.models.classifier import VideoClassifier
from videokd.models.levels import LevelShapes


def build_joint_teacher(
    cfg: CfgNode,
    experts: Mapping[str, VideoClassifier],
    expert_shapes: Mapping[str, LevelShapes],
    *,
    shapes: LevelShapes,
    num_classes: Mapping[str, int],
    seed: int,
) -> JointTeacher:
    """Build the joint teacher of a JOINT node; its initial weights depend on ``seed`` only.

    Args:
        cfg: The JOINT node.
        experts: Dataset name -> trained expert.
        expert_shapes: Dataset name -> shapes of its expert's levels.
        shapes: Shapes of the student's levels.
        num_classes: Dataset name -> number of classes.
        seed: Seed of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return JointTeacher(
            experts,
            expert_shapes,
            shapes=shapes,
            levels=cfg.LEVELS,
            num_classes=num_classes,
            width=cfg.WIDTH,
            dropout=cfg.DROPOUT,
            options=FusionOptions(
                topology=cfg.TOPOLOGY,
                mix=cfg.MIX,
                standardise=cfg.STANDARDISE,
                fine_tune=cfg.FINE_TUNE,
                expert_drop=cfg.EXPERT_DROP,
            ),
        )
