"""torch.compile of backbones."""

import copy

import torch
from torch import nn

from videokd.models.classifier import VideoClassifier

# torch recompiles a forward for each network, mode and kind of batch, and counts this per code
# object, which all networks of a family share. Its default limit of 8 is reached by the third one.
_RECOMPILE_LIMIT = 512


def compile_backbone(backbone: nn.Module) -> None:
    """Compile a backbone in place as one graph; a graph break is an error.

    The names of its weights do not change.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, _RECOMPILE_LIMIT)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, _RECOMPILE_LIMIT)
    backbone.compile(fullgraph=True)


def copy_classifier(model: VideoClassifier) -> VideoClassifier:
    """Return a deep copy whose backbone is compiled if the backbone of ``model`` is."""
    copied = copy.deepcopy(model)  # does not copy the compilation
    if model.backbone._compiled_call_impl is not None:
        compile_backbone(copied.backbone)
    return copied
