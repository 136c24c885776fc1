"""Joint teacher T*: experts fused at several levels, with one classifier per dataset."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from videokd.fusion.operator import EMBEDDING
from videokd.fusion.options import OPERATORS, FusionOptions
from videokd.models.classifier import Clips, VideoClassifier
from videokd.models.compiling import copy_classifier
from videokd.models.frozen import Frozen
from videokd.models.levels import Features, LevelShapes
from videokd.models.tuned import Tuned
from videokd.utils.errors import InputError

_DEFAULTS = FusionOptions()


class JointTeacher(nn.Module):
    """Fusion of the experts' features of a clip, level by level (METHOD, stage 2).

    A fusion operator (``options.OPERATORS``) computes the fused map of each level, low to high, and
    then the embedding. Each gets the experts' features of that level and the fused map below.

    The clip may come from any dataset; every expert gets it, with its own normalisation. If experts
    take clips of different shapes, each gets its own clip of the same frames.

    Args:
        experts: Dataset name -> its expert; at least one. The experts are not changed: frozen ones
            are outside ``state_dict()``, and of fine-tuned ones the teacher owns copies.
        expert_shapes: Dataset name -> shapes of its expert's levels.
        shapes: Shapes of the result, equal to the student's, so that the student needs no
            projector.
        levels: Names of the fused levels, low to high; empty to fuse the embedding only.
        num_classes: Dataset name -> number of classes; one classifier each.
        width: Channels of every adaptor.
        dropout: Dropout probability before the classifiers.
        options: Topology, standardisation, fine-tuning, dropping of experts.

    Raises:
        InputError: No expert, levels out of order, or a level that ``shapes`` or a tapped expert
            lacks.
    """

    def __init__(
        self,
        experts: Mapping[str, VideoClassifier],
        expert_shapes: Mapping[str, LevelShapes],
        *,
        shapes: LevelShapes,
        levels: Sequence[str],
        num_classes: Mapping[str, int],
        width: int,
        dropout: float,
        options: FusionOptions = _DEFAULTS,
    ) -> None:
        super().__init__()
        operator = OPERATORS[options.topology]
        self.tapped = operator.tapped(levels)
        _check_levels(levels, shapes)
        _check_experts(experts, expert_shapes, self.tapped)
        self.options = options
        top = self.tapped[-1]
        self.experts = nn.ModuleDict(
            {name: _wrap(expert, options.fine_tune, top) for name, expert in experts.items()}
        )
        self.fusion = operator(
            {name: expert_shapes[name] for name in experts},
            shapes,
            levels=levels,
            width=width,
            standardise=options.standardise,
            mix=options.mix,
        )
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(shapes.embedding_dim, k) for name, k in num_classes.items()}
        )

    def forward(self, clips: Clips) -> Features:
        """Fuse the experts' features of clips; each expert takes the clips of its own shape."""
        return self.fuse(self.expert_features(clips))

    def expert_features(self, clips: Clips) -> dict[str, Features]:
        """Return expert name -> features of the clips of the expert's own shape.

        The features hold the fused levels only. While the experts are frozen, the result for a clip
        never changes and may be cached.
        """
        kept = {}
        for name, expert in self.experts.items():
            features = expert(clips)
            levels = {k: features.levels[k] for k in self.tapped if k != EMBEDDING}
            kept[name] = Features(levels, features.embedding)
        return kept

    def fuse(self, features: Mapping[str, Features]) -> Features:
        """Fuse the features that ``expert_features`` returns."""
        weights = self._draw_weights(features)
        fused: dict[str, Tensor] = {}
        below: Tensor | None = None
        for level in self.fusion.layers:
            is_tapped = level in self.tapped
            maps = {n: _get(f, level) for n, f in features.items()} if is_tapped else {}
            fused[level] = below = self.fusion.fuse(level, maps, below, weights)
        return Features(fused, fused.pop(EMBEDDING))

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Map embeddings (B, D) to the float32 logits (B, K) of ``dataset``'s classes."""
        return self.heads[dataset](self.dropout(embedding.float()))

    def _draw_weights(self, features: Mapping[str, Features]) -> dict[str, Tensor] | None:
        """Draw expert name -> weights (B,), equal for all levels of a clip; None if none drops."""
        if not self.training or self.options.expert_drop == 0:
            return None
        first = next(iter(features.values())).embedding
        weights = draw_expert_weights(
            len(first), len(features), probability=self.options.expert_drop, device=first.device
        )
        return dict(zip(self.experts, weights.unbind(dim=1), strict=True))


def draw_expert_weights(
    num_clips: int, num_experts: int, *, probability: float, device: torch.device
) -> Tensor:
    """Draw the factors of each expert's features for each clip.

    Each expert is dropped with ``probability``, independently. If all N would be dropped, one of
    them is kept, each with equal chance. Each of m kept experts has weight N / m, so that the
    weights always sum to N. This is the teacher dropping of UNIC (Sariyildiz et al.
    2024, arXiv 2408.05088), which drops by the losses instead.

    Args:
        num_clips: B.
        num_experts: N.
        probability: In [0, 1).
        device: Device of the result; its global generator is used, without waiting for the device.

    Returns:
        (B, N) float32.
    """
    luck = torch.rand(num_clips, num_experts, device=device)
    # Always keep the expert with the largest draw, so that no clip loses all of them. If any expert
    # is kept by the probability, this one is too.
    kept = ((luck >= probability) | (luck == luck.amax(dim=1, keepdim=True))).float()
    return kept * (num_experts / kept.sum(dim=1, keepdim=True))


def _get(features: Features, level: str) -> Tensor:
    return features.embedding if level == EMBEDDING else features.levels[level]


def _wrap(expert: VideoClassifier, fine_tune: str, top: str) -> nn.Module:
    if fine_tune == "none":
        return Frozen(expert)
    return Tuned(copy_classifier(expert), fine_tune, top=top)


def _check_levels(levels: Sequence[str], shapes: LevelShapes) -> None:
    _check_known(levels, "the student", shapes)
    if list(levels) != [level for level in shapes.levels if level in levels]:
        raise InputError(f"levels must name each level once, from low to high, got {list(levels)}")


def _check_experts(
    experts: Mapping[str, VideoClassifier],
    shapes: Mapping[str, LevelShapes],
    tapped: Sequence[str],
) -> None:
    for name, known in shapes.items():
        _check_known([level for level in tapped if level != EMBEDDING], name, known)
    if not experts:
        raise InputError("the joint teacher needs at least one expert, got none")


def _check_known(levels: Sequence[str], owner: str, shapes: LevelShapes) -> None:
    for level in levels:
        if level not in shapes.levels:
            raise InputError(f"level {level!r} is not one of {owner}'s: {', '.join(shapes.levels)}")
