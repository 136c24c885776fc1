"""Average of the experts as the teacher of one dataset (baseline B5)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videokd.data.batch import ClipBatch
from videokd.distill.feature_cache import FeatureCache, flatten_features, unflatten_features
from videokd.distill.tasks import TaskOutput, to_float
from videokd.models.classifier import Clips, VideoClassifier
from videokd.models.frozen import Frozen
from videokd.models.levels import Features


class ExpertEnsemble(nn.Module):
    """Frozen experts, each with a linear head for one dataset; their logits are averaged.

    Each embedding passes a BatchNorm without parameters before its head. Experts of different
    architectures have features of different scale, and their heads should learn equally fast.

    Args:
        experts: Dataset name -> its expert. The experts stay frozen and outside ``state_dict()``.
        dims: Dataset name -> D of its expert's embedding.
        dataset: Name of the dataset that the heads are fitted on.
        num_classes: Number of classes of that dataset.
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

    def expert_features(self, clips: Clips) -> dict[str, Features]:
        """Return expert name -> features of the clips of the expert's own shape."""
        return {name: Features({}, e(clips).embedding) for name, e in self.experts.items()}

    def fuse(self, features: Mapping[str, Features]) -> Features:
        """Return the experts' normalised embeddings, concatenated, without feature maps."""
        parts = [norm(features[name].embedding.float()) for name, norm in self.norms.items()]
        return Features({}, torch.cat(parts, dim=1))

    def forward(self, clips: Clips) -> Features:
        """Compute ``fuse(expert_features(clips))``."""
        return self.fuse(self.expert_features(clips))

    def classify_each(self, embedding: Tensor) -> list[Tensor]:
        """Map embeddings (B, sum D_i) to the float32 logits (B, K) of each expert's head."""
        parts = embedding.split(self._dims, dim=1)
        return [head(part) for head, part in zip(self.heads.values(), parts, strict=True)]

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Return the mean of the experts' logits (B, K) for embeddings (B, sum D_i)."""
        if dataset != self.dataset:
            raise ValueError(f"the heads are of {self.dataset}, not of {dataset}")
        return torch.stack(self.classify_each(embedding)).mean(dim=0)


class EnsembleTask(nn.Module):
    """Task that trains each expert's head by itself, with the mean cross-entropy of the heads.

    Args:
        model: The ensemble.
        cache: Cache of the experts' features, for views that are drawn repeatedly.
    """

    def __init__(self, model: ExpertEnsemble, *, cache: FeatureCache | None = None) -> None:
        super().__init__()
        self.model = model
        self.cache = cache

    def forward(self, batch: ClipBatch, progress: float = 0.0) -> TaskOutput:
        """Compute the loss of a batch; it does not depend on ``progress``.

        ``terms``: ce_<expert>, the cross-entropy of each expert's head.
        """
        clips = to_float(batch.clips)
        model = self.model
        if self.cache is None:
            features = model.expert_features(clips)
        else:
            known = self.cache(
                batch.view_keys, lambda: flatten_features(model.expert_features(clips))
            )
            features = unflatten_features(known)
        logits = model.classify_each(model.fuse(features).embedding)
        losses = [F.cross_entropy(one, batch.labels) for one in logits]
        top1 = torch.stack(logits).mean(dim=0).argmax(dim=1)
        names = [f"ce_{name}" for name in model.experts]
        terms = dict(zip(names, [loss.detach() for loss in losses], strict=True))
        return TaskOutput(torch.stack(losses).mean(), top1 == batch.labels, terms)
