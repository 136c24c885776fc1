"""The exported network: the library's own network with a student's weights."""

from collections.abc import Mapping

from torch import Tensor, nn

from videokd.export.sidecar import Preprocessing
from videokd.models.classifier import VideoClassifier
from videokd.models.normalizer import ClipNormalizer
from videokd.models.zoo import Architecture


class NormalizedNetwork(nn.Module):
    """Network with its normalisation in front: maps clips in [0, 1] to logits.

    Args:
        net: Network that maps normalised clips (B, 3, T, H, W) to logits (B, K).
        preprocessing: Preprocessing whose ``mean``, ``std`` and ``channels`` are used.
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
    """Return the weights under the parameter names of the library's network.

    Args:
        model: Model with a head for ``dataset``.
        dataset: Name of the dataset whose head becomes the network's classifier.

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
    """Build the library's network in eval mode, with ``state`` loaded strictly.

    Raises:
        RuntimeError: ``state`` does not fit the architecture.
    """
    net = architecture.build_plain(num_classes)
    net.load_state_dict(state, strict=True)
    return NormalizedNetwork(net, preprocessing).eval()
