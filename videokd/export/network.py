"""What is exported: the library's network with a student's weights, nothing of videokd in it."""

from collections.abc import Mapping

from torch import Tensor, nn

from videokd.export.sidecar import Preprocessing
from videokd.models.classifier import VideoClassifier
from videokd.models.normalizer import ClipNormalizer
from videokd.models.zoo import Architecture


class NormalizedNetwork(nn.Module):
    """Clips in [0, 1] -> logits: the network with its normalisation in front.

    Args:
        net: Normalised clips (B, 3, T, H, W) -> logits (B, K).
        preprocessing: Its ``mean``, ``std`` and ``channels`` are used.
    """

    def __init__(self, net: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.net = net
        self.normalizer = ClipNormalizer(
            preprocessing.mean, preprocessing.std, preprocessing.channels
        )

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, 3, T, H, W), float32 RGB in [0, 1], to logits (B, K)."""
        logits: Tensor = self.net(self.normalizer(clips))
        return logits


def plain_state_dict(model: VideoClassifier, dataset: str) -> dict[str, Tensor]:
    """Return the weights under the names that the library's network gives them.

    Args:
        model: A model with a head for ``dataset``.
        dataset: Whose head becomes the network's classifier.

    Returns:
        Detached contiguous tensors on the CPU, in the order of the network's own state dict.
    """
    backbone, head = model.backbone, model.heads[dataset]
    state = {**backbone.net.state_dict(), **backbone.head_state(head.state_dict())}
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def build_network(
    architecture: Architecture,
    state: Mapping[str, Tensor],
    *,
    num_classes: int,
    preprocessing: Preprocessing,
) -> NormalizedNetwork:
    """Build the library's network, load ``state`` strictly, and put it into eval mode.

    Raises:
        RuntimeError: ``state`` is not of this architecture.
    """
    net = architecture.build_plain(num_classes)
    net.load_state_dict(state, strict=True)
    return NormalizedNetwork(net, preprocessing).eval()
