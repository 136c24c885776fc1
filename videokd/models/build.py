"""Construction of models from config nodes."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fvcore.common.config import CfgNode

from videokd.config import override_config
from videokd.models.checkpointing import checkpoint_activations
from videokd.models.classifier import VideoClassifier
from videokd.models.compiling import compile_backbone
from videokd.models.normalizer import ClipNormalizer
from videokd.models.weights.load import load_pretrained
from videokd.models.weights.report import LoadReport
from videokd.models.zoo import Architecture, get_architecture, get_size
from videokd.utils.errors import InputError

logger = logging.getLogger(__name__)


def fill_model_inputs(cfg: CfgNode) -> CfgNode:
    """Return the config with each network's input keys resolved to their values.

    Values such as -1, [] and "arch" stand for the published input of ARCH. Resolving them makes
    the run directory and every export record the actual input.

    Args:
        cfg: The whole config; not changed.

    Raises:
        InputError: An architecture is unknown, or its published input does not fit DATA.
    """
    filled: list[Any] = []
    for section in ("EXPERTS", "STUDENTS"):
        for name, node in cfg[section].items():
            own = get_size(node.ARCH).model_input
            values = {
                "NUM_FRAMES": own.num_frames if node.NUM_FRAMES < 0 else node.NUM_FRAMES,
                "SAMPLING_RATE": (
                    own.sampling_rate if node.SAMPLING_RATE < 0 else node.SAMPLING_RATE
                ),
                "CROP_SIZE": own.crop_size if node.CROP_SIZE < 0 else node.CROP_SIZE,
                "MEAN": list(node.MEAN or own.mean),
                "STD": list(node.STD or own.std),
                "COLOR_ORDER": own.channels if node.COLOR_ORDER == "arch" else node.COLOR_ORDER,
            }
            for key, value in values.items():
                filled += [f"{section}.{name}.{key}", value]
    return override_config(cfg, filled, source="the networks' own input")


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
    clip_name: str = "clip",
) -> VideoClassifier:
    """Build the model of an EXPERTS or STUDENTS node with random weights drawn from ``seed``.

    ``load_initial_weights`` reads WEIGHTS separately, because models are often built only for their
    shapes, where nothing should be downloaded.

    Args:
        cfg: The node.
        architecture: Result of ``build_architecture``.
        num_classes: Dataset name -> number of classes.
        seed: Seed of the initial weights.
        clip_name: Name of the model's clip shape in a batch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = architecture.build_backbone()
        if cfg.CHECKPOINT_ACTIVATIONS:
            checkpoint_activations(backbone)
        model = VideoClassifier(
            backbone,
            num_classes,
            normalizer=ClipNormalizer(cfg.MEAN, cfg.STD, cfg.COLOR_ORDER),
            dropout=cfg.DROPOUT,
            precision=cfg.PRECISION,
            memory_format=cfg.MEMORY_FORMAT,
            clip_name=clip_name,
        )
    if cfg.COMPILE:
        compile_backbone(model.backbone)
    return model


def load_initial_weights(
    cfg: CfgNode,
    model: VideoClassifier,
    architecture: Architecture,
    *,
    title: str,
    class_names: Mapping[str, Sequence[str]],
) -> LoadReport:
    """Load the WEIGHTS of an EXPERTS or STUDENTS node into its model, and log the report.

    Args:
        cfg: The node, with WEIGHTS other than "random".
        model: Result of ``build_classifier``.
        architecture: Result of ``build_architecture``.
        title: Name of the node, for the log and for messages.
        class_names: Dataset name -> its class names.

    Raises:
        InputError: See ``load_pretrained``.
    """
    try:
        report = load_pretrained(
            model,
            architecture,
            cfg.WEIGHTS,
            class_names=class_names,
            patterns=cfg.WEIGHTS_RENAME,
            is_strict=cfg.WEIGHTS_STRICT,
        )
    except InputError as error:
        raise InputError(f"{title}: {error}") from error
    # Without training, errors from adapted kernels or an assumed class order would go unnoticed.
    is_usual = report.is_whole and (cfg.TRAIN or not (report.adapted or report.is_order_assumed))
    logger.log(logging.INFO if is_usual else logging.WARNING, "%s: %s", title, report)
    return report
