"""The experts' average as a teacher of one dataset (baseline B5)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videokd.data.batch import ClipBatch
from videokd.distill.feature_cache import FeatureCache
from videokd.distill.tasks import TaskOutput, flatten_features, to_float, unflatten_features
from videokd.models.classifier import Clips, VideoClassifier, map_clips
from videokd.models.frozen import Frozen
from videokd.models.levels import Features


class ExpertEnsemble(nn.Module):
    """Frozen experts, each with a linear head for one dataset; the logits are averaged.

    Embeddings pass a BatchNorm without parameters before the head: experts of different kinds have
    features of different size, and the heads are to learn equally fast.

    Args:
        experts: Dataset name -> its expert. They stay frozen and outside ``state_dict()``.
        dims: Dataset name -> D of its expert's embedding.
        dataset: Name of the dataset that the heads are fitted on.
        num_classes: Of that dataset.
    """

    def __init__(
        self,
        experts: Mapping[str, VideoClassifier],
        dims: Mapping[str, int],
        *,
        dataset: str,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleDict({name: Frozen(expert) for name, expert in experts.items()})
        self.norms = nn.ModuleDict(
            {name: nn.BatchNorm1d(dims[name], affine=False) for name in experts}
        )
        self.heads = nn.ModuleDict({name: nn.Linear(dims[name], num_classes) for name in experts})
        self.dataset = dataset
        self._dims = [dims[name] for name in experts]

    def see(self, clips: Clips) -> dict[str, Features]:
        """Return what each expert sees in clips (B, 3, T, H, W), float32 RGB in [0, 1].

        Clips of several shapes are given by their names; each expert picks its own.
        """
        return {name: Features({}, e(clips).embedding) for name, e in self.experts.items()}

    def fuse(self, seen: Mapping[str, Features]) -> Features:
        """Return the experts' normalised embeddings side by side, and no maps."""
        parts = [norm(seen[name].embedding.float()) for name, norm in self.norms.items()]
        return Features({}, torch.cat(parts, dim=1))

    def forward(self, clips: Clips) -> Features:
        """Compute ``fuse(see(clips))``."""
        return self.fuse(self.see(clips))

    def classify_each(self, embedding: Tensor) -> list[Tensor]:
        """Map embeddings (B, sum D_i) to the float32 logits (B, K) of each expert's head."""
        parts = embedding.split(self._dims, dim=1)
        return [head(part) for head, part in zip(self.heads.values(), parts, strict=True)]

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Map embeddings (B, sum D_i) to the mean over the experts of their logits (B, K)."""
        if dataset != self.dataset:
            raise ValueError(f"the heads are of {self.dataset}, not of {dataset}")
        return torch.stack(self.classify_each(embedding)).mean(dim=0)


class EnsembleTask(nn.Module):
    """Fit each expert's head on its own: the mean over the experts of the cross-entropy.

    Args:
        model: The ensemble.
        cache: Keeps what the experts say of views that come again.
    """

    def __init__(self, model: ExpertEnsemble, *, cache: FeatureCache | None = None) -> None:
        super().__init__()
        self.model = model
        self.cache = cache

    def forward(self, batch: ClipBatch, progress: float = 0.0) -> TaskOutput:
        """Compute the loss of a batch; it does not depend on ``progress``.

        ``terms``: ce_<expert>, the cross-entropy of each expert's head.
        """
        clips = map_clips(to_float, batch.all_clips)
        model = self.model
        if self.cache is None:
            seen = model.see(clips)
        else:
            known = self.cache(batch.view_keys, lambda: flatten_features(model.see(clips)))
            seen = unflatten_features(known)
        logits = model.classify_each(model.fuse(seen).embedding)
        losses = [F.cross_entropy(one, batch.labels) for one in logits]
        top1 = torch.stack(logits).mean(dim=0).argmax(dim=1)
        names = [f"ce_{name}" for name in model.experts]
        terms = dict(zip(names, [loss.detach() for loss in losses], strict=True))
        return TaskOutput(torch.stack(losses).mean(), top1 == batch.labels, terms)
