"""Descriptions of network families: architectures, their inputs and published figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from videokd.models.levels import Backbone

# KINETICS: of torchvision's video weights; PLAIN: of most other video weights.
KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_STD = (0.22803, 0.22145, 0.216989)
PLAIN_MEAN = (0.45, 0.45, 0.45)
PLAIN_STD = (0.225, 0.225, 0.225)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelInput:
    """Clip format that the published weights of a network were trained on.

    Args:
        num_frames: Frames per clip.
        sampling_rate: Source frames from one frame of the clip to the next.
        crop_size: Height and width, px.
        mean: Mean per RGB channel (also where ``channels`` is "bgr"), for values in [0, 1].
        std: Standard deviation per RGB channel, > 0.
        channels: Colour order of the network's input, "rgb" or "bgr".
    """

    num_frames: int
    sampling_rate: int
    crop_size: int
    mean: tuple[float, float, float] = KINETICS_MEAN
    std: tuple[float, float, float] = KINETICS_STD
    channels: str = "rgb"


@dataclass(frozen=True)
class Published:
    """Published size and cost of a network.

    Args:
        num_params: Parameters in millions; 0.0 if not published.
        gflops: Multiply-adds of one view, 1e9; 0.0 if not published.
        source: Publication of these figures.
        remark: Reason for a difference from videokd's own counts; "" without a difference.
        num_frames: Frames of the clip that ``gflops`` counts; 0 = as in ``ModelInput``.
        crop_size: Crop of the clip that ``gflops`` counts, px; 0 = as in ``ModelInput``.
        num_classes: Number of classes of the published network.
    """

    num_params: float
    gflops: float
    source: str
    remark: str = ""
    num_frames: int = 0
    crop_size: int = 0
    num_classes: int = 400


@dataclass(frozen=True)
class Size:
    """One named architecture of a family.

    Args:
        model_input: Input of its published weights.
        options: Properties that differ between the sizes of the family; ``Family.scale`` reads
            them.
        published: Published figures; None if there are none.
        weights: Names of weights that its library offers, e.g.
            "torchvision:R2Plus1D_18_Weights.KINETICS400_V1".
        head_name: Dotted name of the classifier if it differs from ``Family.head_name``.
    """

    model_input: ModelInput
    options: Mapping[str, Any] = field(default_factory=dict)
    published: Published | None = None
    weights: tuple[str, ...] = ()
    head_name: str = ""


@dataclass(frozen=True)
class Scale:
    """Clip size, width and depth that the user requests for a network.

    Args:
        num_frames: Frames per clip.
        crop_size: Height and width of a clip, px.
        width_factor: Factor on the network's channels, > 0.
        depth_factor: Factor on the network's blocks per stage, > 0.
    """

    num_frames: int
    crop_size: int
    width_factor: float = 1.0
    depth_factor: float = 1.0

    def channels(self, own: float) -> int:
        """Return the scaled number of channels, a multiple of 8, at least 8."""
        return max(8, round(own * self.width_factor / 8) * 8)

    def depths(self, own: tuple[int, ...]) -> tuple[int, ...]:
        """Return the scaled numbers of blocks, rounded up, at least 1."""
        # The tolerance keeps a rounding error from turning 0.5 * 2 into 2.
        return tuple(max(1, -int(-(depth * self.depth_factor - 1e-6) // 1)) for depth in own)


@dataclass(frozen=True)
class Family:
    """Networks of one library that share code and differ only in numbers.

    Args:
        name: Name of the family's module in ``videokd.models.plain`` and in
            ``videokd.models.families``.
        sizes: Architecture name -> its description.
        head_name: Dotted name of the classifier in the plain network, see ``Backbone``; a size may
            override it.
        scale: Function from (architecture name, size, requested scale) to the arguments of
            ``build_plain``: numbers, strings and tuples of them. Raises InputError for a clip size
            that the network does not accept.
        build_plain: Function that builds the library's network with random weights from
            ``num_classes`` and these arguments. The network maps clips (B, 3, T, H, W) to logits
            (B, K).
        wrap: Function that makes a backbone of such a network and its arguments.
        resolve: Function from an architecture name outside ``sizes`` to its description, for a
            library with too many networks to list; None if the name does not belong to the family.
            Raises InputError if the name has the family's form but the library lacks the network.
        open_names: Forms of the names that ``resolve`` accepts, for messages.
    """

    name: str
    sizes: Mapping[str, Size]
    head_name: str
    scale: Callable[[str, Size, Scale], dict[str, Any]]
    build_plain: Callable[..., nn.Module]
    wrap: Callable[[nn.Module, Mapping[str, Any]], Backbone]
    resolve: Callable[[str], Size | None] = lambda name: None
    open_names: tuple[str, ...] = ()
