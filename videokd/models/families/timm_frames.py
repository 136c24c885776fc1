"""Backbones of timm's image networks, applied per frame, optionally with a temporal shift."""

import difflib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from videokd.models.family import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Family,
    ModelInput,
    Published,
    Scale,
    Size,
)
from videokd.models.levels import LEVEL_NAMES, Backbone, Features
from videokd.models.plain import timm_frames
from videokd.models.plain.timm_frames import FrameNetwork
from videokd.utils.errors import InputError, how_to_install

# Prefix of an architecture name "<prefix>:<timm name>" -> whether it has a temporal shift.
_PREFIXES = {"timm": False, "timm-tsm": True}


class FrameBackbone(Backbone):
    """Per-frame image backbone whose levels are timm's feature stages; T is kept.

    In a pyramid, the levels are the last outputs at its four highest reductions, (4, 8, 16, 32) of
    H and W in most networks. In a network of one resolution, such as a ViT, they are the outputs
    after a quarter, half, three quarters (rounded down) and all of its blocks; in ViT-S after
    blocks 3, 6, 9 and 12. Tokens without a position (class tokens) are dropped, and the last norm
    is not applied. The embedding is the input of timm's classifier, averaged over the frames.

    Args:
        net: A ``FrameNetwork``.

    Raises:
        InputError: The timm network has fewer than four stages, or not exactly one linear
            classifier.
    """

    def __init__(self, net: nn.Module) -> None:
        library_net: Any = net.get_submodule("net")
        name = library_net.pretrained_cfg["architecture"]
        classifier = library_net.pretrained_cfg["classifier"]
        if not _can_be_backbone(library_net, classifier):
            raise InputError(
                f"timm's {name} cannot be a backbone: it needs one linear classifier and "
                "forward_intermediates, which timm gives most of its networks"
            )
        # Set per instance and before the base class, which reads it to remove the classifier.
        self.head_name = f"net.{classifier}"
        super().__init__(net)
        stages = library_net.feature_info
        self._indices = _choose_levels(name, [stage["reduction"] for stage in stages])
        ends = [stages[i]["module"] for i in self._indices]
        try:
            self._parts = _divide(library_net, ends)
        except ValueError as error:
            raise InputError(
                f"timm's {name} cannot be a backbone: its stages are not modules of its own, "
                f"{', '.join(ends)}"
            ) from error

    def forward(self, clips: Tensor) -> Features:
        """Compute the features of normalised clips (B, 3, T, H, W), float."""
        net, num_frames = self.net, clips.shape[2]
        last, maps = net.net.forward_intermediates(
            net.split(clips), indices=self._indices, output_fmt="NCHW"
        )
        levels = {
            name: frames.unflatten(0, (-1, num_frames)).transpose(1, 2)
            for name, frames in zip(LEVEL_NAMES, maps, strict=True)
        }
        return Features(levels, net.pool(last, num_frames))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return part -> dotted names of its members in ``net``; see ``Backbone``."""
        return self._parts


def _can_be_backbone(net: Any, classifier: Any) -> bool:
    """Return whether a timm network has stages and one linear classifier named ``classifier``."""
    modules = dict(net.named_modules())
    head = modules.get(classifier) if isinstance(classifier, str) else None
    # If timm's classifier has several layers, the input of the last one is not the embedding.
    is_whole = isinstance(head, nn.Linear) and net.get_classifier() is head
    return is_whole and hasattr(net, "forward_intermediates")


def _choose_levels(name: str, reductions: Sequence[int]) -> list[int]:
    """Return the indices of the four level stages, given the reduction of H and W at each stage."""
    last_of = {reduction: i for i, reduction in enumerate(reductions)}
    if len(last_of) >= len(LEVEL_NAMES):
        return list(last_of.values())[-len(LEVEL_NAMES) :]
    if len(reductions) < len(LEVEL_NAMES):
        raise InputError(
            f"timm's {name} cannot be a backbone: it has {len(reductions)} stages, four are needed"
        )
    return [(i + 1) * len(reductions) // 4 - 1 for i in range(len(LEVEL_NAMES))]


def _divide(net: nn.Module, ends: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return part -> dotted names of the members of a timm network.

    Args:
        net: The timm network.
        ends: Name of the last module of each level.

    Raises:
        ValueError: The network has no module of one of these names.
    """
    members = list(_members(net, ends))
    start = members.index(ends[0])
    container = ends[0].rpartition(".")[0]
    # The first stage begins with the first block of the list that contains its end.
    while container and start > 0 and members[start - 1].startswith(f"{container}."):
        start -= 1
    bounds = [0, start, *(members.index(end) + 1 for end in ends), len(members)]
    parts = ("stem", *LEVEL_NAMES, "embedding")
    return {
        part: tuple(f"net.{name}" for name in members[first:last] if _has_state(net, name))
        for part, (first, last) in zip(parts, pairwise(bounds), strict=True)
    }


def _members(module: nn.Module, ends: Sequence[str], prefix: str = "") -> Iterator[str]:
    """Yield member names in order; modules that contain one of ``ends`` are split into members."""
    own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    yield from (f"{prefix}{name}" for name, _ in own)
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if any(end.startswith(f"{path}.") for end in ends):
            yield from _members(child, ends, f"{path}.")
        else:
            yield path


def _has_state(net: nn.Module, name: str) -> bool:
    member = attrgetter(name)(net)
    return isinstance(member, Tensor) or any(
        True for _ in (*member.parameters(), *member.buffers())
    )


def _scale(name: str, size: Size, scale: Scale) -> dict[str, Any]:
    if (scale.width_factor, scale.depth_factor) != (1.0, 1.0):
        raise InputError(
            f"{name} has the width and depth that timm gives it: WIDTH_FACTOR and DEPTH_FACTOR "
            f"must be 1, got {scale.width_factor:g} and {scale.depth_factor:g}; choose another of "
            "timm's networks, as timm:NAME"
        )
    return {
        "model": size.options["model"],
        "crop_size": scale.crop_size,
        "shift_frames": scale.num_frames if size.options["is_shifted"] else 0,
    }


def _build(**arguments: Any) -> FrameNetwork:
    _import_timm()
    try:
        return timm_frames.build(**arguments)
    except ValueError as error:
        raise InputError(str(error)) from error


def _resolve(name: str) -> Size | None:
    """Return the description of "timm:NAME" or "timm-tsm:NAME"; None for other forms of names."""
    prefix, colon, model = name.partition(":")
    if not colon or prefix not in _PREFIXES:
        return None
    timm = _import_timm()
    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(), n=3)
        hint = f"; near are {', '.join(near)}" if near else ""
        raise InputError(f"ARCH {name!r}: timm has no network {model!r}{hint}")
    try:
        found = timm.get_pretrained_cfg(model)
    except RuntimeError as error:
        raise InputError(f"ARCH {name!r}: {error}") from error
    return Size(
        _image_input(found.input_size[-1], found.mean, found.std),
        options={"model": model, "is_shifted": _PREFIXES[prefix]},
        weights=(f"timm:{model}",),
        head_name=f"net.{found.classifier}",
    )


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"image networks need timm, which is not installed; {how_to_install('timm')}"
        ) from error
    return timm


def _image_input(
    crop_size: int, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> ModelInput:
    # Image weights define no frames or rate. 8 frames at rate 8, as in TSM, cover two seconds.
    return ModelInput(8, 8, crop_size, mean, std)


def _size(
    model: str,
    classifier: str,
    *,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    is_shifted: bool = False,
    published: Published,
) -> Size:
    # Listed here because importing timm takes seconds.
    return Size(
        _image_input(224, mean, std),
        options={"model": model, "is_shifted": is_shifted},
        published=published,
        weights=(f"timm:{model}",),
        head_name=f"net.{classifier}",
    )


def _published(num_params: float, gflops_per_frame: float) -> Published:
    return Published(
        num_params,
        8 * gflops_per_frame,
        "timm's results/benchmark-infer-amp-nhwc-pt210-cu121-rtx3090.csv, of 8 images",
        remark="timm counts norms and pooling too, and not the products of attention",
        num_classes=1000,
    )


_HALF = (0.5, 0.5, 0.5)

FAMILY = Family(
    name="timm_frames",
    sizes={
        "timm_resnet50_mean": _size("resnet50", "fc", published=_published(25.56, 4.11)),
        "timm_resnet50_tsm": _size(
            "resnet50", "fc", is_shifted=True, published=Published(24.3, 33.0, "TSM, table 2")
        ),
        "timm_convnext_tiny_mean": _size(
            "convnext_tiny", "head.fc", published=_published(28.59, 4.47)
        ),
        "timm_vit_small_mean": _size(
            "vit_small_patch16_224",
            "head",
            mean=_HALF,
            std=_HALF,
            published=_published(22.05, 4.25),
        ),
        "timm_efficientnet_b0_mean": _size(
            "efficientnet_b0",
            "classifier",
            published=_published(5.29, 0.40),
        ),
        "timm_mobilenetv3_small_mean": _size(
            "mobilenetv3_small_100",
            "classifier",
            published=_published(2.54, 0.06),
        ),
    },
    head_name="net.fc",
    scale=_scale,
    build_plain=_build,
    wrap=lambda net, arguments: FrameBackbone(net),
    resolve=_resolve,
    open_names=("timm:NAME", "timm-tsm:NAME"),
)
