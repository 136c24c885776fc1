"""torch.compile of backbones."""

import copy

import torch
from torch import nn

from videokd.models.classifier import VideoClassifier

# torch compiles a forward anew for each network, mode and kind of batch, and counts these by code
# object, which all networks of a family share: its own limit of 8 ends with the third network.
_RECOMPILE_LIMIT = 512


def compile_backbone(backbone: nn.Module) -> None:
    """Compile a backbone in place, as one graph or with an error at the place of the break.

    The names of its weights stay as they are.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, _RECOMPILE_LIMIT)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, _RECOMPILE_LIMIT)
    backbone.compile(fullgraph=True)


def copy_classifier(model: VideoClassifier) -> VideoClassifier:
    """Return a deep copy whose backbone is compiled if that of ``model`` is."""
    copied = copy.deepcopy(model)  # torch leaves the compilation out
    if model.backbone._compiled_call_impl is not None:
        compile_backbone(copied.backbone)
    return copied
