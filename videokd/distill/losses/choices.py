"""Feature losses by the name that selects them in the config."""

from collections.abc import Callable, Mapping

from torch import Tensor

from videokd.distill.losses.features import attention_transfer, feature_mse, smooth_l1_cosine
from videokd.distill.losses.relations import relational, similarity_preserving

FEATURE_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": feature_mse,
    "smooth_l1_cosine": smooth_l1_cosine,
    "attention": attention_transfer,
    "relational": relational,
    "similarity": similarity_preserving,
}
"""Name -> loss of (student, teacher), a float32 scalar; loss options keep their defaults."""
