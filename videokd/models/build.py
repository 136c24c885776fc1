"""Config nodes -> models."""

from collections.abc import Mapping

import torch
from fvcore.common.config import CfgNode

from videokd.models.classifier import VideoClassifier
from videokd.models.zoo import Architecture, get_architecture


def build_architecture(cfg: CfgNode, *, num_frames: int, crop_size: int) -> Architecture:
    """Return the architecture of an EXPERTS.<NAME> or STUDENTS.<NAME> node."""
    return get_architecture(
        cfg.ARCH,
        num_frames=num_frames,
        crop_size=crop_size,
        width_factor=cfg.WIDTH_FACTOR,
        depth_factor=cfg.DEPTH_FACTOR,
    )


def build_classifier(
    cfg: CfgNode,
    architecture: Architecture,
    num_classes: Mapping[str, int],
    *,
    seed: int,
    clip_name: str = "",
) -> VideoClassifier:
    """Build the model of an EXPERTS or STUDENTS node; its weights depend on ``seed`` only.

    Args:
        cfg: The node.
        architecture: From ``build_architecture``.
        num_classes: Dataset name -> number of classes.
        seed: Of the initial weights.
        clip_name: Of the shape of its clips.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VideoClassifier(
            architecture.build_backbone(),
            num_classes,
            mean=cfg.MEAN,
            std=cfg.STD,
            dropout=cfg.DROPOUT,
            precision=cfg.PRECISION,
            memory_format=cfg.MEMORY_FORMAT,
            clip_name=clip_name,
        )
