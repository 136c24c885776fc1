"""Loss of the student: its logits and features against the teacher and labels (METHOD, stage 3)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from videokd.distill.losses.table import (
    FeatureLoss,
    LogitLoss,
    make_feature_loss,
    make_logit_loss,
)
from videokd.distill.projectors import Projectors
from videokd.distill.schedules import schedule_factor
from videokd.models.levels import Features


@dataclass(frozen=True)
class Targets:
    """Outputs of the teacher for a batch, without gradient."""

    logits: Tensor
    """(B, K)"""
    levels: Mapping[str, Tensor]
    """Level name, "embedding" included -> (B, C, T, H, W) or (B, D)."""


@dataclass(frozen=True)
class DistillOptions:
    """Weights and losses of the student's objective; the defaults are the published ones."""

    w_kd: float = 0.6
    w_feat: float = 0.2
    w_ce: float = 0.2
    kd_schedule: str = "constant"
    """Schedule of ``w_kd``, see ``schedule_factor``."""
    feat_schedule: str = "constant"
    """Schedule of ``w_feat``."""
    logit_loss: LogitLoss = field(default_factory=lambda: make_logit_loss("kd", temperature=2.0))
    feature_loss: FeatureLoss = field(default_factory=lambda: make_feature_loss("mse"))
    level_losses: Mapping[str, FeatureLoss] = field(default_factory=dict)
    """Level name, "embedding" included -> its loss. Missing levels have ``feature_loss``."""
    level_weights: Mapping[str, float] = field(default_factory=dict)
    """Level name, "embedding" included -> weight. Missing levels have 1; 0 turns a level off."""
    level_schedules: Mapping[str, str] = field(default_factory=dict)
    """Level name -> schedule, see ``schedule_factor``. Missing levels are constant."""
    teacher_drop: float = 0.0
    """Share of clips whose teacher losses are dropped, in [0, 1).

    Above 0, all losses must be means over clips, see ``LossEntry.compares_clips``.
    """

    def weight(self, level: str) -> float:
        """Return the weight of a level before its schedule."""
        return self.level_weights.get(level, 1.0)


class DistillObjective(nn.Module):
    """Weighted sum of the logit loss, the feature losses and the cross-entropy of a student.

    loss = w_kd s_kd L_logit + w_feat s_feat / L * sum_l w_l s_l L_feat(P^l(f^l), N(F^l)) + w_ce CE

    s are the schedules' factors at the training's progress.
    L is the number of the teacher's levels, including levels of weight 0: turning one level off
    does not change the weight of the others. P^l are the projectors, N the standardisation of
    targets.

    Args:
        options: Weights and losses.
        projectors: Projectors from the student's to the teacher's levels, for the taught levels;
            None to distil logits only.
        num_levels: L, embedding included.
        standardisers: Level name -> module that standardises the teacher's features of that level.
            Levels without one are compared unstandardised.
    """

    def __init__(
        self,
        options: DistillOptions,
        *,
        projectors: Projectors | None = None,
        num_levels: int = 0,
        standardisers: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self.projectors = projectors
        self.num_levels = num_levels
        self.standardisers = nn.ModuleDict(standardisers or {})

    @property
    def taught_levels(self) -> tuple[str, ...]:
        """Names of the levels whose features are compared."""
        return () if self.projectors is None else self.projectors.levels

    def draw_kept(self, labels: Tensor) -> Tensor | None:
        """Draw the clips that keep their teacher losses, as bool (B,); None keeps all."""
        if self.options.teacher_drop == 0:
            return None
        return torch.rand(len(labels), device=labels.device) >= self.options.teacher_drop

    def forward(
        self,
        features: Features,
        logits: Tensor,
        targets: Targets,
        *,
        labels: Tensor,
        ce: Tensor,
        keep: Tensor | None = None,
        progress: float = 0.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a batch.

        Args:
            features: Features of the student.
            logits: Logits of the student, (B, K).
            targets: Outputs of the teacher, at least for the taught levels.
            labels: (B,)
            ce: Scalar cross-entropy with the labels, which may be mixed.
            keep: (B,) bool, True for the clips over which the teacher terms are averaged. The terms
                are zero if it has no True. The other clips get the gradient of ``ce`` only. None
                keeps all.
            progress: Share of the training that is done, in [0, 1].

        Returns:
            The loss, and its terms, unweighted: kd, ce and feat_<level>.
        """
        options = self.options
        kd = _mean_over_kept(options.logit_loss, keep, logits, targets.logits, labels)
        w_kd = options.w_kd * schedule_factor(options.kd_schedule, progress)
        w_feat = options.w_feat * schedule_factor(options.feat_schedule, progress)
        loss = w_kd * kd + options.w_ce * ce
        terms = {"kd": kd, "ce": ce}
        projected = {} if self.projectors is None else self.projectors(features)
        for level, value in projected.items():
            target = targets.levels[level].float()
            if level in self.standardisers:
                target = self.standardisers[level](target)
            feature_loss = options.level_losses.get(level, options.feature_loss)
            term = _mean_over_kept(feature_loss, keep, value, target)
            factor = schedule_factor(options.level_schedules.get(level, "constant"), progress)
            loss = loss + w_feat * options.weight(level) * factor / self.num_levels * term
            terms[f"feat_{level}"] = term
        return loss, terms


def _mean_over_kept(loss: Callable[..., Tensor], keep: Tensor | None, *inputs: Tensor) -> Tensor:
    """Return the mean of a loss over the kept clips of its inputs (B, ...), zero if none is kept.

    The losses of single clips are weighted by ``keep``: a boolean index would wait for the device.
    """
    if keep is None:
        return loss(*inputs)
    losses = torch.vmap(lambda *clip: loss(*(value[None] for value in clip)))(*inputs)
    return torch.where(keep, losses, 0).sum() / keep.sum().clamp(min=1)
