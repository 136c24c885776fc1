"""Distillation losses: pure functions of tensors, computed in float32 or better whatever comes in.

Weights between losses are not applied here: the log shows every term unweighted. The teacher's
side never gets a gradient.
"""

from videokd.distill.losses.choices import FEATURE_LOSSES
from videokd.distill.losses.features import attention_transfer, feature_mse, smooth_l1_cosine
from videokd.distill.losses.logits import (
    decoupled_kd,
    dist_loss,
    entropy,
    soft_cross_entropy,
    standardise_logits,
)
from videokd.distill.losses.relations import relational, similarity_preserving

__all__ = [
    "FEATURE_LOSSES",
    "attention_transfer",
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
