"""Joint teacher T*: experts fused at several levels, with one classifier per dataset."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from videokd.fusion.expert_drop import draw_expert_weights
from videokd.fusion.options import FusionOptions
from videokd.fusion.topology import FusedEmbedding, FusedLevel, PooledEmbedding, TrunkLevel
from videokd.models.classifier import Clips, VideoClassifier
from videokd.models.compiling import copy_classifier
from videokd.models.frozen import Frozen
from videokd.models.levels import Features, LevelShapes
from videokd.models.tuned import Tuned
from videokd.utils.errors import InputError

_DEFAULTS = FusionOptions()


class JointTeacher(nn.Module):
    """Fusion of the experts' features of a clip, level by level (METHOD, stage 2).

    For the levels l = l1 < l2 < ... and experts i, in a ``pyramid``:
        a_i^l = resample(conv1x1x1(S(f_i^l)), grid of l)                   width channels each
        F^l   = GELU(BN(conv1x1x1(GELU(BN(cat(a_1^l .. a_N^l, down(F^(l-1))))))))
    where S standardises (by default: BN) and down is a strided 3x3x3 convolution to ``width``
    channels, absent at l1, and
        embedding = GELU(BN(linear(cat(a_1^emb .. a_N^emb, avgpool(F^top)))))
    In a ``trunk`` F^l1 is the same, and levels above l1 do not use the experts:
        F^l = GELU(BN(conv(F^(l-1)))),  conv as in ``TrunkLevel``
        embedding = linear(avgpool(F^top))
    Without levels, both topologies compute the pyramid's embedding without F^top.

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
        is_trunk = options.topology == "trunk" and len(levels) > 0
        self.tapped = tuple(levels[:1] if is_trunk else levels)
        _check_levels(levels, shapes)
        _check_experts(experts, expert_shapes, self.tapped)
        self.shapes, self.width, self.options = shapes, width, options
        self.expert_shapes = {name: expert_shapes[name] for name in experts}
        top = self.tapped[0] if is_trunk else "embedding"
        self.experts = nn.ModuleDict(
            {name: _wrap(expert, options.fine_tune, top) for name, expert in experts.items()}
        )
        self.fusions, self.trunk = nn.ModuleDict(), nn.ModuleDict()
        self._add_levels(levels)
        top_channels = shapes.levels[levels[-1]][0] if levels else 0
        self.embed: FusedEmbedding | PooledEmbedding
        if is_trunk:
            self.embed = PooledEmbedding(top_channels, shapes.embedding_dim)
        else:
            self.embed = FusedEmbedding(
                {name: s.embedding_dim for name, s in self.expert_shapes.items()},
                top_channels,
                shapes.embedding_dim,
                width=width,
                standardise=options.standardise,
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
            levels = {level: features.levels[level] for level in self.tapped}
            kept[name] = Features(levels, features.embedding)
        return kept

    def fuse(self, features: Mapping[str, Features]) -> Features:
        """Fuse the features that ``expert_features`` returns."""
        weights = self._draw_weights(features)
        levels: dict[str, Tensor] = {}
        fused: Tensor | None = None
        for level, fusion in self.fusions.items():
            fused = fusion({name: f.levels[level] for name, f in features.items()}, fused, weights)
            levels[level] = fused
        for level, step in self.trunk.items():
            fused = step(fused)
            levels[level] = fused
        if isinstance(self.embed, PooledEmbedding):
            return Features(levels, self.embed(fused))
        embeddings = {name: f.embedding for name, f in features.items()}
        return Features(levels, self.embed(embeddings, fused, weights))

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Map embeddings (B, D) to the float32 logits (B, K) of ``dataset``'s classes."""
        return self.heads[dataset](self.dropout(embedding.float()))

    def _add_levels(self, levels: Sequence[str]) -> None:
        below, width, standardise = None, self.width, self.options.standardise
        for level in levels:
            shape = self.shapes.levels[level]
            if below is None or level in self.tapped:
                channels = {name: s.levels[level][0] for name, s in self.expert_shapes.items()}
                self.fusions[level] = FusedLevel(
                    channels, shape, below=below, width=width, standardise=standardise
                )
            else:
                self.trunk[level] = TrunkLevel(below, shape)
            below = shape

    def _draw_weights(self, features: Mapping[str, Features]) -> dict[str, Tensor] | None:
        """Draw expert name -> weights (B,), equal for all levels of a clip; None if none drops."""
        if not self.training or self.options.expert_drop == 0:
            return None
        first = next(iter(features.values())).embedding
        weights = draw_expert_weights(
            len(first), len(features), probability=self.options.expert_drop, device=first.device
        )
        return dict(zip(self.experts, weights.unbind(dim=1), strict=True))


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
        _check_known(tapped, name, known)
    if not experts:
        raise InputError("the joint teacher needs at least one expert, got none")


def _check_known(levels: Sequence[str], owner: str, shapes: LevelShapes) -> None:
    for level in levels:
        if level not in shapes.levels:
            raise InputError(f"level {level!r} is not one of {owner}'s: {', '.join(shapes.levels)}")
