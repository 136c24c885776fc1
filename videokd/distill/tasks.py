"""What one training step computes at each stage: a batch in, a loss and its terms out.

A task holds everything that its stage trains; what it only looks at sits in ``Frozen`` and is in
neither its parameters nor its state. Tasks never wait for the device.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videokd.data.batch import ClipBatch
from videokd.distill.losses import entropy, feature_mse, soft_cross_entropy
from videokd.distill.projectors import Projectors
from videokd.models.classifier import VideoClassifier, VideoModel
from videokd.models.frozen import Frozen


@dataclass(frozen=True)
class TaskOutput:
    """The result of a task for one batch."""

    loss: Tensor
    """Scalar float32, the weighted sum that is minimised."""
    correct: Tensor
    """(B,) bool: the model's top-1 is the label."""
    terms: dict[str, Tensor]
    """Term name -> scalar, unweighted and detached, for the log."""
    counts: dict[str, Tensor] = field(default_factory=dict)
    """Term name -> scalar, how many clips the term is a mean of; all B where it is missing."""


@dataclass(frozen=True)
class DistillWeights:
    """Weights of the student's loss (METHOD, stage 3); the defaults are the published ones."""

    kd: float = 0.6
    feat: float = 0.2
    ce: float = 0.2
    temperature: float = 2.0


class ClassificationTask(nn.Module):
    """Cross-entropy of one model over the clips of one or several datasets.

    Serves stage 1 (an expert, one dataset), stage 2 (the joint teacher), and the baselines B1
    (alone) and B2 (one backbone trained jointly).

    loss = 1/B sum_b w_d(b) * CE(head_d(b)(x_b), y_b), d(b) the dataset of clip b: an estimate of
    METHOD's sum over datasets, where each dataset counts by w_i and by its share of the batches.

    Args:
        model: Features of clips, and ``classify`` with one head per dataset.
        weights: Dataset name -> w_i, in the order of the batches' ``dataset_ids``.
    """

    def __init__(self, model: VideoModel, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.model = model
        self.weights = dict(weights)

    def forward(self, batch: ClipBatch) -> TaskOutput:
        """Compute the loss of a batch.

        ``terms``: ce_<dataset>, the mean cross-entropy of each dataset's clips (0 of none).
        """
        embedding = self.model(to_float_clips(batch)).embedding
        losses = torch.zeros(len(batch), device=embedding.device)
        correct = torch.zeros(len(batch), dtype=torch.bool, device=embedding.device)
        terms, counts = {}, {}
        for i, (name, weight) in enumerate(self.weights.items()):
            # All clips pass each (small) head and are masked after: picking them out by a boolean
            # index would wait for the device to say how many there are.
            logits = self.model.classify(embedding, name)
            mine = batch.dataset_ids == i
            labels = batch.labels.clamp(max=logits.shape[1] - 1)
            ce = F.cross_entropy(logits, labels, reduction="none") * mine
            losses = losses + weight * ce
            correct = correct | ((logits.argmax(dim=1) == batch.labels) & mine)
            counts[f"ce_{name}"] = mine.sum()
            terms[f"ce_{name}"] = ce.detach().sum() / mine.sum().clamp(min=1)
        return TaskOutput(losses.mean(), correct, terms, counts)


class StudentTask(nn.Module):
    """Distil a teacher into the student of one dataset (METHOD, stage 3).

    loss = w_kd * tau^2 * H(teacher, student) + w_feat * mean over levels, embedding included, of
    MSE(P^l(f_S^l), F^l) + w_ce * CE. Teaching is consistent: teacher and student see the same
    clip, crop and colours. Without projectors only logits are distilled (baseline B4).

    Args:
        student: The network that is trained.
        teacher: Features of clips, and ``classify`` with a head for ``dataset``.
        dataset: Name of the dataset whose clips and classes are taught.
        weights: Of the three terms, and the temperature.
        projectors: From the student's levels to the teacher's; None for logits only.
    """

    def __init__(
        self,
        student: VideoClassifier,
        teacher: nn.Module,
        *,
        dataset: str,
        weights: DistillWeights,
        projectors: Projectors | None = None,
    ) -> None:
        super().__init__()
        self.model = student
        self.projectors = projectors
        self.teacher = Frozen(teacher)
        self.dataset = dataset
        self.weights = weights

    def forward(self, batch: ClipBatch) -> TaskOutput:
        """Compute the loss of a batch of ``dataset``'s clips.

        ``terms``: kd, ce, feat_<level> per level, agreement (the share of clips on which student
        and teacher have one top-1), teacher_top1, entropy_student, entropy_teacher (nats).
        """
        clips = to_float_clips(batch)
        seen = self.teacher(clips)
        with torch.no_grad():
            teacher_logits = self.teacher.module.classify(seen.embedding, self.dataset)
        features = self.model(clips)
        logits = self.model.classify(features.embedding, self.dataset)
        kd = soft_cross_entropy(logits, teacher_logits, temperature=self.weights.temperature)
        ce = F.cross_entropy(logits, batch.labels)
        loss = self.weights.kd * kd + self.weights.ce * ce
        terms = {"kd": kd, "ce": ce}
        if self.projectors is not None:
            targets = {**seen.levels, "embedding": seen.embedding}
            feats = {
                level: feature_mse(mine, targets[level])
                for level, mine in self.projectors(features).items()
            }
            loss = loss + self.weights.feat * torch.stack(list(feats.values())).mean()
            terms.update({f"feat_{level}": value for level, value in feats.items()})
        top1, teacher_top1 = logits.argmax(dim=1), teacher_logits.argmax(dim=1)
        terms["agreement"] = (top1 == teacher_top1).float().mean()
        terms["teacher_top1"] = (teacher_top1 == batch.labels).float().mean()
        terms["entropy_student"] = entropy(logits)
        terms["entropy_teacher"] = entropy(teacher_logits)
        detached = {name: value.detach() for name, value in terms.items()}
        return TaskOutput(loss, top1 == batch.labels, detached)


def to_float_clips(batch: ClipBatch) -> Tensor:
    """Return the batch's clips (B, 3, T, H, W) as float32 in [0, 1], on the batch's device."""
    return batch.clips.float() / 255
