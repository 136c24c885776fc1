"""Layer decay: the deeper a layer lies below the classifier, the lower its learning rate."""

from collections.abc import Mapping

from torch import nn

from videokd.models.levels import LEVEL_NAMES, Backbone


def depth_names(backbone: Backbone) -> list[tuple[str, ...]]:
    """Return what lies at each depth, low to high: names of submodules of ``backbone``.

    The stem is one depth, what follows the last level is one, and in the levels each module that
    ``parts`` names is one: a block of a transformer (as in the published recipes, from BEiT on), a
    stage of a network whose stages are modules. What holds no trainable parameter is no depth.
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
    """Return the factors on the learning rates of the backbones' layers in ``module``.

    The highest depth of a backbone has the factor ``decay``, the one below ``decay`` ** 2, and so
    on down to the stem; what is no backbone (classifiers, projectors, fusion) has 1. Each is
    multiplied by the factor that ``scales`` gives it.

    Args:
        module: What is trained. Backbones in ``Frozen`` are not in it.
        decay: In (0, 1]; with 1 the factors are those of ``scales``.
        scales: Dotted name in ``module`` -> factor; of several that fit, the longest counts. None
            may lie within a backbone.

    Returns:
        ``scales`` and the dotted names of the layers, for ``build_optimizer``.
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
