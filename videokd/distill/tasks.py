"""Tasks of the training stages: each maps a batch to a loss and its terms.

A task holds all modules that its stage trains. Networks that it only evaluates are wrapped in
``Frozen``, which keeps them out of its parameters and state. The tasks' own code does not wait
for the device, except that a feature cache reads its flags about once per epoch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videokd.data.batch import ClipBatch
from videokd.distill.expert_group import GroupObjective
from videokd.distill.feature_cache import FeatureCache, flatten_features, unflatten_features
from videokd.distill.losses import entropy
from videokd.distill.mixup import MixParams, apply_mix, draw_mix
from videokd.distill.objective import DistillObjective, Targets
from videokd.fusion.joint_teacher import JointTeacher
from videokd.models.classifier import Clips, VideoClassifier, VideoModel
from videokd.models.frozen import Frozen
from videokd.models.joined import JoinedClassifier
from videokd.utils.errors import InputError

_NO_CLASS = -1e4  # logit of a class that the clip's dataset does not have


@dataclass(frozen=True)
class TaskOutput:
    """Result of a task for one batch."""

    loss: Tensor
    """Scalar float32, the weighted sum to minimise."""
    correct: Tensor
    """(B,) bool: True where the model's top-1 class is the label."""
    terms: dict[str, Tensor]
    """Term name -> scalar, unweighted and detached, for the log."""
    counts: dict[str, Tensor] = field(default_factory=dict)
    """Term name -> scalar, number of clips that the term is a mean over; B for missing terms.

    "top1" is the number of clips with a label, over which ``correct`` is averaged.
    """


@dataclass(frozen=True)
class MixOptions:
    """Options for mixing the clips of a batch, see ``videokd.distill.mixup``."""

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    @property
    def is_on(self) -> bool:
        """Whether clips are mixed."""
        return not self.mixup_alpha == self.cutmix_alpha == 0

    def draw(self, batch: ClipBatch) -> MixParams | None:
        """Draw the mix parameters of a batch; None when MixUp and CutMix are off."""
        if not self.is_on:
            return None
        height, width = batch.main.shape[-2:]
        return draw_mix(
            batch.dataset_ids,
            height,
            width,
            mixup_alpha=self.mixup_alpha,
            cutmix_alpha=self.cutmix_alpha,
        )

    def prepare(self, batch: ClipBatch) -> tuple[Clips, MixParams | None]:
        """Return the float clips of a batch after mixing, and the mix parameters (None if unmixed).

        Clips of several shapes are mixed with the same partners, shares and relative boxes.
        """
        clips, mix = to_float(batch.clips), self.draw(batch)
        if mix is None:
            return clips, None
        return {n: apply_mix(x, mix.scaled(*x.shape[-2:])) for n, x in clips.items()}, mix


class ClassificationTask(nn.Module):
    """Cross-entropy of one model over the clips of one or several datasets.

    The task serves stage 1 (an expert, one dataset), stage 2 (the joint teacher), and the baselines
    B1 (alone), B2 (one backbone trained jointly) and B3 (like B2 with one head for all classes).

    loss = 1/B sum_b w_d(b) * CE(head_d(b)(x_b), y_b), d(b) the dataset of clip b. It estimates
    METHOD's sum over datasets, where each dataset counts by w_i and by its share of the batches.

    Args:
        model: Model that returns features of clips and has ``classify`` with one head per dataset.
        weights: Dataset name -> w_i, in the order of the batches' ``dataset_ids``.
        mixing: Options for mixing the clips of a batch.
        expert_cache: Cache of the experts' features for views that repeat. The model must have
            ``see`` and ``fuse``, and its experts must be frozen.

    Raises:
        InputError: Both mixing and a cache are given.
    """

    def __init__(
        self,
        model: VideoModel,
        weights: Mapping[str, float],
        *,
        mixing: MixOptions = MixOptions(),  # noqa: B008  (it is frozen)
        expert_cache: FeatureCache | None = None,
    ) -> None:
        super().__init__()
        _check_whole_clips(mixing, has_cache=expert_cache is not None)
        self.model = model
        self.weights = dict(weights)
        self.mixing = mixing
        self.expert_cache = expert_cache

    def forward(self, batch: ClipBatch, progress: float = 0.0) -> TaskOutput:
        """Compute the loss of a batch; it does not depend on ``progress``.

        ``terms``: ce_<dataset>, the mean cross-entropy of each dataset's clips (0 without clips).
        """
        clips, mix = self.mixing.prepare(batch)
        embedding = self._embed(batch, clips)
        losses = torch.zeros(len(batch), device=embedding.device)
        correct = torch.zeros(len(batch), dtype=torch.bool, device=embedding.device)
        terms, counts = {}, {}
        for i, (name, weight) in enumerate(self.weights.items()):
            # All clips pass each (small) head and are masked after: a boolean index would wait for
            # the device to count the clips.
            logits, first = self._logits(embedding, name)
            is_own = batch.dataset_ids == i
            labels = torch.where(is_own, batch.labels, 0) + first
            ce = mixed_cross_entropy(logits, labels, mix) * is_own
            losses = losses + weight * ce
            correct = correct | ((logits.argmax(dim=1) == labels) & is_own)
            counts[f"ce_{name}"] = is_own.sum()
            terms[f"ce_{name}"] = ce.detach().sum() / is_own.sum().clamp(min=1)
        return TaskOutput(losses.mean(), correct, terms, counts)

    def _embed(self, batch: ClipBatch, clips: Clips) -> Tensor:
        if self.expert_cache is None:
            return self.model(clips).embedding
        model = cast(JointTeacher, self.model)
        features = self.expert_cache(
            batch.view_keys, lambda: flatten_features(model.expert_features(clips))
        )
        return model.fuse(unflatten_features(features)).embedding

    def _logits(self, embedding: Tensor, dataset: str) -> tuple[Tensor, int]:
        """Return logits to train, and the index of the dataset's first class in them."""
        if isinstance(self.model, JoinedClassifier):
            return self.model.classify_all(embedding), self.model.first_class[dataset]
        return self.model.classify(embedding, dataset), 0


class StudentTask(nn.Module):
    """Distillation of a teacher into a student (METHOD, stage 3).

    With consistent teaching the teacher gets the student's clip: same crop, colours and mix. With
    fixed teaching it gets the same frames without augmentation (the published way), from the
    batch's ``plain_clips``. If student and teacher take clips of different shapes, each gets its
    own clip of the same frames.

    Clips of other datasets may be used for distillation too (all teachers on all data: Sariyildiz
    et al. 2025, DUNE). The teacher's head for ``dataset`` then gives the targets of every clip, and
    the cross-entropy is the mean over ``dataset``'s own clips (0 without own clips). A generalist,
    the student of all datasets, learns of each clip the logits of the clip's own head.

    Args:
        student: Network to train.
        teacher: Network that returns features of clips and has ``classify`` with a head for each
            taught dataset.
        dataset: Name of the dataset whose classes are taught; None for a generalist.
        objective: The loss.
        trained_on: Datasets of the clips, in the order of the batches' ``dataset_ids``; None for
            ``dataset`` alone.
        mixing: Options for mixing the clips of a batch.
        is_fixed: Use fixed teaching.
        cache: Cache of the teacher's outputs for views that repeat.

    Raises:
        InputError: Mixing is combined with fixed teaching or with a cache.
    """

    def __init__(
        self,
        student: VideoClassifier,
        teacher: nn.Module,
        *,
        dataset: str | None,
        objective: DistillObjective | GroupObjective,
        trained_on: Sequence[str] | None = None,
        mixing: MixOptions = MixOptions(),  # noqa: B008  (it is frozen)
        is_fixed: bool = False,
        cache: FeatureCache | None = None,
    ) -> None:
        super().__init__()
        _check_whole_clips(mixing, has_cache=cache is not None, is_fixed=is_fixed)
        self.model = student
        self.objective = objective
        self.teacher = Frozen(teacher)
        self.dataset = dataset
        self.trained_on = tuple(trained_on or ([dataset] if dataset else student.heads))
        self.mixing = mixing
        self.is_fixed = is_fixed
        self.cache = cache

    def forward(self, batch: ClipBatch, progress: float = 0.0) -> TaskOutput:
        """Compute the loss of a batch.

        ``terms``: kd, ce, feat_<level> per taught level, agreement (the share of clips for which
        student and teacher have the same top-1 class), teacher_top1, entropy_student,
        entropy_teacher (nats). ce and teacher_top1 cover ``dataset``'s own clips, kd and
        feat_<level> the clips that ``teacher_drop`` keeps.
        """
        clips, mix = self.mixing.prepare(batch)
        targets = self._compute_targets(batch, clips)
        features = self.model(clips)
        logits = self._classify(self.model, features.embedding, batch)
        is_own = self._is_own(batch.dataset_ids)
        # A label of another dataset may be out of range here.
        labels = torch.where(is_own, batch.labels, 0)
        num_own = is_own.sum()
        ce = mixed_cross_entropy(logits, labels, mix) * is_own
        keep = self.objective.draw_kept(labels)
        loss, terms = self.objective(
            features,
            logits,
            targets,
            labels=labels,
            ce=ce.sum() / self._num_counted(batch, num_own),
            keep=keep,
            progress=progress,
        )
        counts = {"ce": num_own, "teacher_top1": num_own, "top1": num_own}
        if keep is not None:
            counts |= dict.fromkeys(terms.keys() - {"ce"}, keep.sum())
        terms["ce"] = ce.sum() / num_own.clamp(min=1)
        top1, teacher_top1 = logits.argmax(dim=1), targets.logits.argmax(dim=1)
        terms["agreement"] = (top1 == teacher_top1).float().mean()
        right = (teacher_top1 == labels) & is_own
        terms["teacher_top1"] = right.sum() / num_own.clamp(min=1)
        terms["entropy_student"] = entropy(logits)
        terms["entropy_teacher"] = entropy(targets.logits)
        detached = {name: value.detach() for name, value in terms.items()}
        return TaskOutput(loss, (top1 == labels) & is_own, detached, counts)

    def _num_counted(self, batch: ClipBatch, num_own: Tensor) -> Tensor:
        """Return the divisor of the sum of a batch's cross-entropies."""
        if batch.whole_ids is None:
            return num_own.clamp(min=1)
        # The losses of micro-batches are weighted by their number of clips, but own clips may be
        # spread unevenly over them. This divisor gives each own clip the same weight in the whole
        # batch.
        return self._is_own(batch.whole_ids).sum().clamp(min=1) * batch.share

    def _is_own(self, dataset_ids: Tensor) -> Tensor:
        """Return (B,) bool: whether a clip's label is one of the taught classes."""
        if self.dataset is None:
            return torch.ones_like(dataset_ids, dtype=torch.bool)
        return dataset_ids == self.trained_on.index(self.dataset)

    def _classify(self, model: nn.Module, embedding: Tensor, batch: ClipBatch) -> Tensor:
        if self.dataset is None:
            return classify_own(model, embedding, batch.dataset_ids, self.trained_on)
        return cast(Callable[[Tensor, str], Tensor], model.classify)(embedding, self.dataset)

    def _compute_targets(self, batch: ClipBatch, clips: Clips) -> Targets:
        if self.is_fixed:
            if not batch.plain_clips:
                raise ValueError("fixed teaching needs batches with plain_clips")
            clips = to_float(batch.plain_clips)

        def compute() -> dict[str, Tensor]:
            features = self.teacher(clips)
            with torch.no_grad():
                logits = self._classify(self.teacher.module, features.embedding, batch)
            maps = {**features.levels, "embedding": features.embedding}
            return {
                "logits": logits,
                **{level: maps[level] for level in self.objective.taught_levels},
            }

        targets = compute() if self.cache is None else self.cache(batch.view_keys, compute)
        return Targets(targets.pop("logits"), targets)


def classify_own(
    model: nn.Module, embedding: Tensor, dataset_ids: Tensor, names: Sequence[str]
) -> Tensor:
    """Return the logits of each clip's own dataset.

    Args:
        model: Model with ``classify`` and a head for each of ``names``.
        embedding: (B, D)
        dataset_ids: (B,), positions in ``names``.
        names: Datasets.

    Returns:
        (B, K) for the K classes of the largest dataset. Clips of smaller datasets have -10,000 for
        the missing classes: their probability is 0 at any useful temperature.
    """
    classify = cast(Callable[[Tensor, str], Tensor], model.classify)
    each = [classify(embedding, name) for name in names]
    width = max(logits.shape[1] for logits in each)
    padded = [F.pad(logits, (0, width - logits.shape[1]), value=_NO_CLASS) for logits in each]
    picked = dataset_ids.view(-1, 1, 1).expand(-1, 1, width)
    return torch.stack(padded, dim=1).gather(1, picked).squeeze(1)


def _check_whole_clips(mixing: MixOptions, *, has_cache: bool, is_fixed: bool = False) -> None:
    if mixing.is_on and has_cache:
        raise InputError("a cache keeps the targets of whole clips; mix none, or give no cache")
    if mixing.is_on and is_fixed:
        raise InputError(
            "fixed teaching shows the teacher clips that are not mixed; mix none, or let it be "
            "consistent"
        )


def mixed_cross_entropy(logits: Tensor, labels: Tensor, mix: MixParams | None) -> Tensor:
    """Compute the cross-entropy (B,) of logits (B, K) with the labels (B,) of mixed clips.

    weight_b * CE(z_b, y_b) + (1 - weight_b) * CE(z_b, y_partner(b)) (Zhang et al. 2018).
    """
    own = F.cross_entropy(logits.float(), labels, reduction="none")
    if mix is None:
        return own
    other = F.cross_entropy(logits.float(), labels[mix.partner], reduction="none")
    return mix.weight * own + (1 - mix.weight) * other


def to_float(clips: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert uint8 clips to the networks' input: float32 in [0, 1], on their device."""
    return {name: each.float() / 255 for name, each in clips.items()}
