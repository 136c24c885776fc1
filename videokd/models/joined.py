"""Single classifier over the concatenated classes of all datasets (baseline B3)."""

from collections.abc import Mapping
from itertools import accumulate

from torch import Tensor, nn

from videokd.models.classifier import Clips, VideoClassifier
from videokd.models.levels import Features

HEAD = "joined"


class JoinedClassifier(nn.Module):
    """Backbone with one head of sum K_i classes, concatenated in the order of the datasets.

    Args:
        classifier: Classifier with one head, ``HEAD``, for the classes of all datasets.
        num_classes: Dataset name -> number of classes, in the order of the head.
    """

    def __init__(self, classifier: VideoClassifier, num_classes: Mapping[str, int]) -> None:
        super().__init__()
        self.classifier = classifier
        ends = list(accumulate(num_classes.values()))
        self.first_class = dict(zip(num_classes, [0, *ends], strict=False))
        self.num_classes = dict(num_classes)

    def forward(self, clips: Clips) -> Features:
        """Compute the features of the clips of the model's own shape."""
        return self.classifier(clips)

    def classify_all(self, embedding: Tensor) -> Tensor:
        """Map embeddings (B, D) to the float32 logits (B, sum K_i) of all classes."""
        return self.classifier.classify(embedding, HEAD)

    def classify(self, embedding: Tensor, dataset: str) -> Tensor:
        """Map embeddings (B, D) to the float32 logits (B, K) of ``dataset``'s classes."""
        first = self.first_class[dataset]
        return self.classify_all(embedding)[:, first : first + self.num_classes[dataset]]
