"""Renaming of MMAction2 weights to names of pytorchvideo's, torchvision's and timm's networks.

Supports files of open-mmlab/mmaction2 (``.pth``, "backbone." and "cls_head." under "state_dict")
for ResNet3d and ResNet3dSlowOnly of depth 50, C2D, ResNet3dSlowFast, X3D, and the image networks
of TSN and TSM. The rules were checked with random weights against the classes of mmaction2 1.2.0,
not with its published files: SlowOnly and TSN give the same logits bit for bit, SlowFast and X3D
within 4e-6 of the largest logit. Differences to consider before use:

- Most networks of MMAction2 take RGB in 0 ... 255 with mean (123.675, 116.28, 103.53) and deviation
  (58.395, 57.12, 57.375); scaled to [0, 1] these are ImageNet's. X3D has mean 114.75 and deviation
  57.38, that is, 0.45 and 0.225.
- SlowOnly equals pytorchvideo's ``slow_r50``. I3D halves T at the stem and at the first pooling,
  unlike ``i3d_r50``. C2D does not pad its first pooling, unlike ``c2d_r50``. The weights of both
  load (C2D's as 2D kernels), but the logits differ.
- SlowFast matches only if built with ``lateral_norm=True``. With the default there are no norms
  between the paths, and the report lists them as missing. MMAction2's head has the fast path's
  channels first, so this module exchanges the classifier's columns. Its slow path takes every
  fourth frame from the first on; the slow path here spreads them up to the last frame.
- R(2+1)D (depth 34, factored shortcuts) and CSN (depths 50 and 152) have no counterpart here. Names
  of transformers do not change.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from videokd.models.weights.rules import Rule, fold_shortcut_norms, has_name, substitute

_RESIDUAL: list[Rule] = [
    (r"\.downsample\.conv\.", ".branch1_conv."),
    (r"\.downsample\.bn\.", ".branch1_norm."),
    *((rf"\.conv{i}\.conv\.", f".branch2.conv_{part}.") for i, part in enumerate("abc", start=1)),
    *((rf"\.conv{i}\.bn\.", f".branch2.norm_{part}.") for i, part in enumerate("abc", start=1)),
]
_X3D: list[Rule] = [
    # pytorchvideo calls the spatial convolution "conv_t" and the temporal one "conv_xy".
    (r"^conv1_s\.conv\.", "blocks.0.conv.conv_t."),
    (r"^conv1_t\.conv\.", "blocks.0.conv.conv_xy."),
    (r"^conv1_t\.bn\.", "blocks.0.norm."),
    (r"^conv5\.conv\.", "blocks.5.pool.pre_conv."),
    (r"^conv5\.bn\.", "blocks.5.pool.pre_norm."),
    (r"^cls_head\.fc1\.", "blocks.5.pool.post_conv."),
    (r"^cls_head\.fc2\.", "blocks.5.proj."),
    (r"^layer(\d)\.(\d+)\.", r"blocks.\1.res_blocks.\2."),
    *_RESIDUAL,
    (r"\.branch2\.norm_b\.", ".branch2.norm_b.0."),
    (r"\.se_module\.fc1\.", ".branch2.norm_b.1.block.0."),
    (r"\.se_module\.fc2\.", ".branch2.norm_b.1.block.2."),
]
_IMAGE: list[Rule] = [
    (r"^conv1\.conv\.", "conv1."),
    (r"^conv1\.bn\.", "bn1."),
    # TSM wraps a block, or its first convolution, in a module that shifts its input.
    (r"^(layer\d\.\d+)\.net\.", r"\1."),
    (r"\.conv(\d)\.conv\.(?:net\.)?", r".conv\1."),
    (r"\.conv(\d)\.bn\.", r".bn\1."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
    (r"^cls_head\.fc_cls\.", "fc."),
]


def is_mmaction2(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of MMAction2's convolutional networks."""
    return has_name(state, r"(?:^|\.)layer1\.0\.(?:net\.)?conv1\.conv\.")


def rename_mmaction2(
    state: Mapping[str, Tensor], *, family: str, architecture: str
) -> tuple[dict[str, Tensor], str]:
    """Return the state dict under the family's names, and a note on changes of values."""
    state = substitute(state, [(r"^backbone\.", "")])
    if family == "ptv_resnet":
        return substitute(state, _one_path(architecture)), ""
    if family == "slowfast":
        return _exchange_columns(substitute(state, _two_paths()))
    if family == "x3d":
        renamed, blocks = fold_shortcut_norms(substitute(state, _X3D))
        linear = "blocks.5.pool.post_conv.weight"
        if linear in renamed:
            renamed[linear] = renamed[linear].view(*renamed[linear].shape[:2], 1, 1, 1)
        return renamed, f"the shortcut's norm of {', '.join(blocks)} folded" if blocks else ""
    if family == "timm_frames":
        return substitute(state, _IMAGE), ""
    return dict(state), ""


def _one_path(architecture: str) -> list[Rule]:
    # In c2d and i3d of pytorchvideo, the pooling after the first stage is a block of its own.
    shift = int(architecture.startswith(("c2d", "i3d")))
    stages = [
        (rf"^layer{i}\.(\d+)\.", rf"blocks.{i + shift * (i > 1)}.res_blocks.\1.")
        for i in range(1, 5)
    ]
    return [
        (r"^conv1\.conv\.", "blocks.0.conv."),
        (r"^conv1\.bn\.", "blocks.0.norm."),
        *stages,
        (r"^cls_head\.fc_cls\.", f"blocks.{5 + shift}.proj."),
        *_RESIDUAL,
    ]


def _two_paths() -> list[Rule]:
    rules: list[Rule] = [(r"^cls_head\.fc_cls\.", "blocks.6.proj.")]
    fusion = "multipathway_fusion"
    for stage, layer in enumerate(("conv1", "layer1", "layer2", "layer3")):
        name = rf"^slow_path\.{layer}_lateral\."
        rules += [
            (name + r"conv\.", f"blocks.{stage}.{fusion}.conv_fast_to_slow."),
            (name + r"bn\.", f"blocks.{stage}.{fusion}.norm."),
        ]
    for i, path in enumerate(("slow_path", "fast_path")):
        blocks = f"multipathway_blocks.{i}"
        rules += [
            (rf"^{path}\.conv1\.conv\.", f"blocks.0.{blocks}.conv."),
            (rf"^{path}\.conv1\.bn\.", f"blocks.0.{blocks}.norm."),
            (rf"^{path}\.layer(\d)\.(\d+)\.", rf"blocks.\1.{blocks}.res_blocks.\2."),
        ]
    return [*rules, *_RESIDUAL]


def _exchange_columns(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    head = "blocks.6.proj.weight"
    fast = "blocks.4.multipathway_blocks.1.res_blocks.0.branch2.conv_c.weight"
    if head not in state or fast not in state:
        return state, ""
    fast_columns, slow_columns = state[head].tensor_split([state[fast].shape[0]], dim=1)
    exchanged = {**state, head: torch.cat([slow_columns, fast_columns], dim=1)}
    return exchanged, "the classifier's columns of the two paths exchanged"
