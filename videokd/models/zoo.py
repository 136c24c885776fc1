"""Architecture names, and the plain networks and backbones built from them."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from videokd.models.families import (
    cnn3d,
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
        cnn3d.FAMILY,
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
    """Named network at one width, depth and clip size.

    The module ``videokd.models.plain.<family>`` and ``arguments`` suffice to rebuild the library's
    network without videokd, by ``build(num_classes=K, **arguments)``.
    """

    name: str
    family: str
    """Name of the module in ``videokd.models.plain``, a key of ``FAMILIES``."""
    arguments: dict[str, Any]

    def build_plain(self, num_classes: int) -> nn.Module:
        """Build the library's network with a classifier and random weights."""
        return FAMILIES[self.family].build_plain(num_classes=num_classes, **self.arguments)

    def build_backbone(self) -> Backbone:
        """Build the network with random weights and wrap it as a backbone."""
        # The backbone removes the classifier, so that the number of classes does not matter.
        return self.wrap(self.build_plain(num_classes=1))

    def wrap(self, net: nn.Module) -> Backbone:
        """Return a backbone made of a network from ``build_plain``, whose classifier is removed."""
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
        name: One of ``architecture_names()``, or a name of the form of a family's ``open_names``.
        num_frames: Frames per clip; fixed in some networks.
        crop_size: Height and width of a clip in px; fixed in some networks.
        width_factor: Factor on the architecture's channels, > 0; rounded to multiples of 8.
        depth_factor: Factor on the architecture's blocks per stage, > 0; rounded up.

    Raises:
        InputError: Unknown name, or a clip size that the architecture does not accept.
    """
    family, size = _find(name)
    scale = Scale(num_frames, crop_size, width_factor, depth_factor)
    return Architecture(name, family.name, family.scale(name, size, scale))


def get_size(name: str) -> Size:
    """Return the description of an architecture, such as its published input.

    Raises:
        InputError: Unknown name.
    """
    return _find(name)[1]


def architecture_names() -> list[str]:
    """Return all listed architecture names, sorted; names of ``open_names`` are not included."""
    return sorted(name for family in FAMILIES.values() for name in family.sizes)


def _find(name: str) -> tuple[Family, Size]:
    for family in FAMILIES.values():
        size = family.sizes.get(name) or family.resolve(name)
        if size:
            return family, size
    close = difflib.get_close_matches(name, architecture_names(), n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    forms = ", ".join(form for family in FAMILIES.values() for form in family.open_names)
    raise InputError(f"unknown ARCH {name!r}; {hint}`videokd models` prints all, beside {forms}")
