"""Tables of the feature and logit losses that a config can name, with their options.

A feature loss is a function ``loss(student, teacher, **options)`` of two float tensors, maps
(B, C, T, H, W) or embeddings (B, D), to a float32 scalar. A logit loss is a function
``loss(student_logits, teacher_logits, *, temperature, **options)`` of logits (B, K), with the
labels (B,) as third argument if its entry says so. Both are computed in at least float32, are means
over the batch, and give the teacher no gradient. The objective multiplies them by their weights.

A new loss is one function and one entry here.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from videokd.distill.losses.features import attention_transfer, feature_mse, smooth_l1_cosine
from videokd.distill.losses.logits import (
    decoupled_kd,
    dist_loss,
    soft_cross_entropy,
    standardise_logits,
)
from videokd.distill.losses.relations import cka, relational, similarity_preserving
from videokd.utils.errors import InputError

FeatureLoss = Callable[[Tensor, Tensor], Tensor]
"""(student, teacher) maps or embeddings -> scalar."""
LogitLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(student logits, teacher logits, labels) -> scalar."""


Range = tuple[float, float]
"""Smallest and largest value of an option, both allowed."""
_POSITIVE: Range = (0.0, 1e6)


@dataclass(frozen=True)
class LossEntry:
    """Loss function, the ranges of its options, and the batches that it can be used for."""

    function: Callable[..., Tensor]
    ranges: Mapping[str, Range] = field(default_factory=dict)
    """Option, a keyword argument of the function with a default -> range."""
    compares_clips: bool = False
    """The loss is not a mean of losses of single clips, so that no clip can be left out of it."""
    needs_labels: bool = False
    """The loss needs one label of the student's dataset for each clip."""

    @property
    def defaults(self) -> dict[str, float]:
        """Option name -> default, from the function's signature."""
        parameters = inspect.signature(self.function).parameters
        return {option: float(parameters[option].default) for option in self.ranges}


FEATURE_LOSSES: Mapping[str, LossEntry] = {
    "mse": LossEntry(feature_mse),
    "smooth_l1_cosine": LossEntry(smooth_l1_cosine, {"weight": (0.0, 1.0), "beta": _POSITIVE}),
    "attention": LossEntry(attention_transfer),
    "relational": LossEntry(
        relational,
        {"distance_weight": _POSITIVE, "angle_weight": _POSITIVE},
        compares_clips=True,
    ),
    "similarity": LossEntry(similarity_preserving, compares_clips=True),
    "cka": LossEntry(cka, compares_clips=True),
}
LOGIT_LOSSES: Mapping[str, LossEntry] = {
    "kd": LossEntry(soft_cross_entropy),
    "dkd": LossEntry(decoupled_kd, {"alpha": _POSITIVE, "beta": _POSITIVE}, needs_labels=True),
    "dist": LossEntry(dist_loss, {"beta": _POSITIVE, "gamma": _POSITIVE}, compares_clips=True),
}


def make_feature_loss(name: str, **options: float) -> FeatureLoss:
    """Return a loss of FEATURE_LOSSES with its options."""
    return partial(FEATURE_LOSSES[name].function, **options)


def make_logit_loss(
    name: str, *, temperature: float, is_standardised: bool = False, **options: float
) -> LogitLoss:
    """Return a loss of LOGIT_LOSSES with its options.

    Args:
        name: Name of the loss.
        temperature: > 0, divides the logits of student and teacher.
        is_standardised: Standardise both logits over the classes first.
        options: Option name -> value.
    """
    entry = LOGIT_LOSSES[name]

    def loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        if is_standardised:
            student, teacher = standardise_logits(student), standardise_logits(teacher)
        inputs = (student, teacher, labels) if entry.needs_labels else (student, teacher)
        return entry.function(*inputs, temperature=temperature, **options)

    return loss


def resolve_options(
    table: Mapping[str, LossEntry], name: str, options: Mapping[str, float], *, key: str
) -> dict[str, float]:
    """Check the choice of a loss, and return all of its options, defaults included.

    Args:
        table: FEATURE_LOSSES or LOGIT_LOSSES.
        name: Name of the loss.
        options: Option name -> value.
        key: Config key of the loss, for messages; its options are sub-keys in upper case.

    Raises:
        InputError: The loss or an option is unknown, or a value is out of range.
    """
    if name not in table:
        raise InputError(f"{key}.NAME must be one of {', '.join(table)}; got {name!r}")
    entry = table[name]
    for option, value in options.items():
        if option not in entry.ranges:
            known = ", ".join(option.upper() for option in entry.ranges) or "none"
            raise InputError(
                f"{key}.{option.upper()} is not an option of {name}, whose options are: {known}; "
                f"remove it, or choose another {key}.NAME"
            )
        low, high = entry.ranges[option]
        if type(value) not in (int, float) or not low <= value <= high:
            raise InputError(
                f"{key}.{option.upper()} must be >= {low:g} and <= {high:g}, got {value!r}"
            )
    return {**entry.defaults, **{option: float(value) for option, value in options.items()}}
