"""Several experts as the teacher of one dataset, each taught directly (baseline B10)."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from videokd.distill.objective import DistillObjective, Targets
from videokd.fusion.operator import EMBEDDING
from videokd.models.classifier import Clips, VideoClassifier
from videokd.models.levels import Features


class ExpertGroup(nn.Module):
    """Experts whose levels are all taught, as levels "expert/level" and "expert/embedding".

    The embedding and the logits are those of one of them.

    Args:
        experts: Dataset name -> its expert.
        dataset: Dataset whose expert gives the embedding and the logits.
        levels: Names of the taught levels.
    """

    def __init__(
        self, experts: Mapping[str, VideoClassifier], dataset: str, levels: Sequence[str]
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleDict(experts)
        self.dataset = dataset
        self.levels = tuple(levels)

    def forward(self, clips: Clips) -> Features:
        """Compute the features of all experts; each takes the clips of its own shape."""
        maps: dict[str, Tensor] = {}
        for name, expert in self.experts.items():
            features = expert(clips)
            for level in self.levels:
                maps[f"{name}/{level}"] = features.levels[level]
            maps[f"{name}/{EMBEDDING}"] = features.embedding
        return Features(maps, maps[f"{self.dataset}/{EMBEDDING}"])

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Map embeddings (B, D) of the dataset's expert to its logits (B, K)."""
        return cast(VideoClassifier, self.experts[self.dataset]).classify(embedding, dataset)


class GroupObjective(nn.Module):
    """Mean over experts of a student's loss under each.

    The logits are the same in all of them, so that the experts share the weight of the feature
    losses, and the logits and labels count as under one teacher.

    Args:
        objectives: Dataset name -> objective with the projectors to the levels of its expert.
    """

    def __init__(self, objectives: Mapping[str, DistillObjective]) -> None:
        super().__init__()
        self._objectives = dict(objectives)
        self.objectives = nn.ModuleDict(objectives)

    @property
    def taught_levels(self) -> tuple[str, ...]:
        """Names "expert/level" of the levels whose features are compared."""
        return tuple(
            f"{name}/{level}"
            for name, one in self._objectives.items()
            for level in one.taught_levels
        )

    def draw_kept(self, labels: Tensor) -> Tensor | None:
        """See ``DistillObjective.draw_kept``; all experts keep the same clips."""
        return next(iter(self._objectives.values())).draw_kept(labels)

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
        """Compute the loss of a batch, see ``DistillObjective.forward``.

        Returns:
            The loss, and its terms, unweighted: kd, ce and feat_<expert>/<level>.
        """
        losses: list[Tensor] = []
        terms: dict[str, Tensor] = {}
        for name, objective in self._objectives.items():
            own = {level: targets.levels[f"{name}/{level}"] for level in objective.taught_levels}
            loss, found = objective(
                features,
                logits,
                Targets(targets.logits, own),
                labels=labels,
                ce=ce,
                keep=keep,
                progress=progress,
            )
            losses.append(loss)
            terms |= {
                term.replace("feat_", f"feat_{name}/"): value for term, value in found.items()
            }
        return torch.stack(losses).mean(), terms
