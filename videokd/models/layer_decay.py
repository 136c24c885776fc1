"""Layer decay: learning rates that decrease with the distance from the classifier."""

from collections.abc import Mapping

from torch import nn

from videokd.models.levels import LEVEL_NAMES, Backbone


def depth_names(backbone: Backbone) -> list[tuple[str, ...]]:
    """Return the names of the submodules of ``backbone`` at each depth, low to high.

    The stem is one depth, and so are the layers after the last level. Within the levels, each
    module that ``parts`` names is a depth: a block of a transformer (as in published recipes from
    BEiT on), or a stage if stages are modules. Modules without trainable parameters are left out.
    """
    depths: list[tuple[str, ...]] = []
    for part, names in backbone.parts().items():
        depths += [(name,) for name in names] if part in LEVEL_NAMES else [names]
    named = [
        tuple(f"net.{name}" for name in names if _is_trained(backbone, name)) for names in depths
    ]
    return [names for names in named if names]


def layer_lr_scales(
    module: nn.Module, decay: float, scales: Mapping[str, float]
) -> dict[str, float]:
    """Return the learning-rate factors of the layers of all backbones in ``module``.

    The highest depth of a backbone has the factor ``decay``, the next one ``decay`` ** 2, and so on
    down to the stem. Other modules (classifiers, projectors, fusion) have 1. Each factor is
    multiplied by the matching factor in ``scales``.

    Args:
        module: Module to train. Backbones in ``Frozen`` are not part of it.
        decay: Decay per depth, in (0, 1]; 1 returns ``scales``.
        scales: Dotted name in ``module`` -> factor. The longest matching name counts. Names must
            not lie inside a backbone.

    Returns:
        Dotted name -> factor, including ``scales``, for ``build_optimizer``.
    """
    found = dict(scales)
    if decay == 1:
        return found
    for prefix, backbone in module.named_modules():
        if not isinstance(backbone, Backbone):
            continue
        fitting = [name for name in scales if f"{prefix}.".startswith(f"{name}.")]
        scale = scales[max(fitting, key=len)] if fitting else 1.0
        for i, names in enumerate(reversed(depth_names(backbone)), start=1):
            found |= {f"{prefix}.{name}".lstrip("."): scale * decay**i for name in names}
    return found


def _is_trained(backbone: Backbone, name: str) -> bool:
    module = backbone.net.get_submodule(name)
    return any(parameter.requires_grad for parameter in module.parameters())
