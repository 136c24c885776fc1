"""Architecture names -> plain networks and backbones."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from videokd.models.families import (
    mvit,
    ptv_mvit,
    ptv_resnet,
    s3d,
    slowfast,
    swin3d,
    timesformer,
    timm_frames,
    video_resnet,
    videomae,
    vivit,
    vjepa2,
    x3d,
)
from videokd.models.family import Family, Scale, Size
from videokd.models.levels import Backbone
from videokd.utils.errors import InputError

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        video_resnet.FAMILY,
        s3d.FAMILY,
        mvit.FAMILY,
        swin3d.FAMILY,
        x3d.FAMILY,
        ptv_resnet.FAMILY,
        ptv_mvit.FAMILY,
        slowfast.FAMILY,
        videomae.FAMILY,
        timesformer.FAMILY,
        vivit.FAMILY,
        vjepa2.FAMILY,
        timm_frames.FAMILY,
    )
}


@dataclass(frozen=True)
class Architecture:
    """One named network at one width, depth and clip size.

    ``plain_module`` and ``arguments`` are all that is needed to rebuild the library's network
    without videokd: ``plain_module.build(num_classes=K, **arguments)``.
    """

    name: str
    family: str
    """The file in ``videokd.models.plain``, one of ``FAMILIES``."""
    arguments: dict[str, Any]

    def build_plain(self, num_classes: int) -> nn.Module:
        """Build the library's network, with its own classifier and random weights."""
        return FAMILIES[self.family].build_plain(num_classes=num_classes, **self.arguments)

    def build_backbone(self) -> Backbone:
        """Build the network and wrap it as a backbone, with random weights."""
        # The classifier is cut off, so its class count does not matter.
        return self.wrap(self.build_plain(num_classes=1))

    def wrap(self, net: nn.Module) -> Backbone:
        """Make a backbone of a network that ``build_plain`` built; it loses its classifier."""
        return FAMILIES[self.family].wrap(net, self.arguments)

    @property
    def head_name(self) -> str:
        """Dotted name of the classifier in the plain network."""
        return get_size(self.name).head_name or FAMILIES[self.family].head_name


def get_architecture(
    name: str,
    *,
    num_frames: int,
    crop_size: int,
    width_factor: float = 1.0,
    depth_factor: float = 1.0,
) -> Architecture:
    """Return the description of an architecture, scaled in width and depth.

    Args:
        name: One of ``architecture_names()``, or of the form of a family's ``open_names``.
        num_frames: Frames of a clip; some networks are built for it.
        crop_size: Height and width of a clip in px; some networks are built for it.
        width_factor: > 0, channels over the architecture's own (rounded to multiples of 8).
        depth_factor: > 0, blocks per stage over the architecture's own (rounded up).

    Raises:
        InputError: Unknown name, or a clip size that the architecture cannot take.
    """
    family, size = _find(name)
    scale = Scale(num_frames, crop_size, width_factor, depth_factor)
    return Architecture(name, family.name, family.scale(name, size, scale))


def get_size(name: str) -> Size:
    """Return what is known of an architecture, its published input above all.

    Raises:
        InputError: Unknown name.
    """
    return _find(name)[1]


def architecture_names() -> list[str]:
    """Return all architecture names, sorted; without those that a library has beyond them."""
    return sorted(name for family in FAMILIES.values() for name in family.sizes)


def _find(name: str) -> tuple[Family, Size]:
    for family in FAMILIES.values():
        size = family.sizes.get(name) or family.resolve(name)
        if size:
            return family, size
    close = difflib.get_close_matches(name, architecture_names(), n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    forms = ", ".join(form for family in FAMILIES.values() for form in family.open_names)
    raise InputError(
        f"unknown ARCH {name!r}; {hint}`tools/train_net.py --list-models` prints all, beside "
        f"{forms}"
    )
