"""What is known of a kind of network before one is built: its sizes, and what they are fed with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from videokd.models.levels import Backbone

# Of Kinetics-400, as torchvision's video weights have them; and what most others use.
KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_STD = (0.22803, 0.22145, 0.216989)
PLAIN_MEAN = (0.45, 0.45, 0.45)
PLAIN_STD = (0.225, 0.225, 0.225)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelInput:
    """The clips that the published weights of a network were trained on.

    Args:
        num_frames: Frames of a clip.
        sampling_rate: Source frames from one frame of the clip to the next.
        crop_size: Height and width, px.
        mean: Per RGB channel (also where ``channels`` is "bgr"), of values in [0, 1].
        std: The same, > 0.
        channels: "rgb" or "bgr", in which the network takes its colours.
    """

    num_frames: int
    sampling_rate: int
    crop_size: int
    mean: tuple[float, float, float] = KINETICS_MEAN
    std: tuple[float, float, float] = KINETICS_STD
    channels: str = "rgb"


@dataclass(frozen=True)
class Published:
    """Figures of a network as its authors give them.

    Args:
        num_params: In millions; 0.0 where none is published.
        gflops: Multiply-adds of one view, 1e9; 0.0 where none is published.
        source: Where they stand.
        remark: Why ours differ, where they do; "" where they do not.
        num_frames: Of the clip that ``gflops`` counts; 0 for that of the ``ModelInput``.
        crop_size: Of that clip, px; 0 for that of the ``ModelInput``.
        num_classes: Of the network that they are of.
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
    """One named network of a family.

    Args:
        model_input: Of its published weights.
        options: What tells it from the other sizes, read by ``Family.scale``.
        published: Its figures, where there are any.
        weights: Names of weights that its library offers, e.g.
            "torchvision:R2Plus1D_18_Weights.KINETICS400_V1".
        head_name: Dotted name of its classifier where it is not the family's.
    """

    model_input: ModelInput
    options: Mapping[str, Any] = field(default_factory=dict)
    published: Published | None = None
    weights: tuple[str, ...] = ()
    head_name: str = ""


@dataclass(frozen=True)
class Scale:
    """What the user asks of a network.

    Args:
        num_frames: Frames of a clip.
        crop_size: Height and width of a clip, px.
        width_factor: > 0, channels over the network's own.
        depth_factor: > 0, blocks per stage over the network's own.
    """

    num_frames: int
    crop_size: int
    width_factor: float = 1.0
    depth_factor: float = 1.0

    def channels(self, own: float) -> int:
        """Scale a number of channels, to a multiple of 8, at least 8."""
        return max(8, round(own * self.width_factor / 8) * 8)

    def depths(self, own: tuple[int, ...]) -> tuple[int, ...]:
        """Scale numbers of blocks, rounded up."""
        # The small slack keeps 0.5 * 2 from becoming 2 by a rounding error.
        return tuple(max(1, -int(-(depth * self.depth_factor - 1e-6) // 1)) for depth in own)


@dataclass(frozen=True)
class Family:
    """Networks of one library that differ in numbers only.

    Args:
        name: Of its file in ``videokd.models.plain``, and of its file beside this one's.
        sizes: Architecture name -> what is known of it.
        head_name: Dotted name of the classifier in the plain network, see ``Backbone``; a size may
            have another.
        scale: From (architecture name, its size, what is asked for) to the arguments of
            ``build_plain``, plain numbers, strings and tuples of them. Raises InputError for a clip
            that the network cannot take.
        build_plain: Builds the library's network with random weights from ``num_classes`` and the
            arguments; takes clips (B, 3, T, H, W) and returns logits (B, K).
        wrap: Makes a backbone of such a network and its arguments.
        resolve: From an architecture name that is not in ``sizes`` to what is known of it, for
            a family whose library has too many networks to list them; None where the name is not
            one of the family's. Raises InputError for one of its names that its library lacks.
        open_names: The form of such names, for messages.
    """

    name: str
    sizes: Mapping[str, Size]
    head_name: str
    scale: Callable[[str, Size, Scale], dict[str, Any]]
    build_plain: Callable[..., nn.Module]
    wrap: Callable[[nn.Module, Mapping[str, Any]], Backbone]
    resolve: Callable[[str], Size | None] = lambda name: None
    open_names: tuple[str, ...] = ()
