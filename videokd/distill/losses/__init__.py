"""Distillation losses: pure functions of tensors; ``table.py`` names them for the config."""

from videokd.distill.losses.features import attention_transfer, feature_mse, smooth_l1_cosine
from videokd.distill.losses.logits import (
    decoupled_kd,
    dist_loss,
    entropy,
    soft_cross_entropy,
    standardise_logits,
)
from videokd.distill.losses.relations import cka, relational, similarity_preserving
from videokd.distill.losses.table import FEATURE_LOSSES, LOGIT_LOSSES

__all__ = [
    "FEATURE_LOSSES",
    "LOGIT_LOSSES",
    "attention_transfer",
    "cka",
    "decoupled_kd",
    "dist_loss",
    "entropy",
    "feature_mse",
    "relational",
    "similarity_preserving",
    "smooth_l1_cosine",
    "soft_cross_entropy",
    "standardise_logits",
]
