"""Distillation losses: pure functions of tensors, computed in at least float32 for any input dtype.

The weights of the losses are applied by the objective: the log shows every term unweighted. The
teacher's tensors never get a gradient.
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
