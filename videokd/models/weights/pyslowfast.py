"""Renaming of PySlowFast weights to names of pytorchvideo's and torchvision's networks.

Supports files of facebookresearch/SlowFast (``.pyth``, under "model_state") for its models ResNet
(c2d, i3d, slow), SlowFast, X3D and MViT. The rules follow its ``models`` folder and are tested on
networks with these names, not on its published files. PySlowFast's PTV* models have pytorchvideo's
names with the prefix "model.", which ``names`` removes. Names of non-local blocks, reversible MViT,
detection heads and self-supervised models do not change.

According to its code, kernels, strides and the order of the classifier's input equal pytorchvideo's
except for SlowFast with a SLOWFAST.ALPHA other than 4 and for "c2d_nopool" and "i3d_nopool". The
weights of these load, but their logits differ. The models were trained on RGB in [0, 1] with mean
0.45 and deviation 0.225, unless DATA in the file's "cfg" has other values.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from videokd.models.weights.rules import Rule, fold_shortcut_norms, has_name, substitute

_RESIDUAL: list[Rule] = [
    (r"\.branch1\.", ".branch1_conv."),
    (r"\.branch1_bn\.", ".branch1_norm."),
    (r"\.branch2\.([abc])\.", r".branch2.conv_\1."),
    (r"\.branch2\.([abc])_bn\.", r".branch2.norm_\1."),
]
# Some versions name the stems of the paths "s0_stem" instead of "pathway0_stem".
_STEM = r"^s1\.(?:pathway|s)(\d)_stem\."


def is_pyslowfast(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of PySlowFast."""
    if has_name(state, _STEM):
        return True
    return has_name(state, r"^patch_embed\.proj\.") and has_name(state, r"^head\.projection\.")


def rename_pyslowfast(
    state: Mapping[str, Tensor], *, family: str, architecture: str
) -> tuple[dict[str, Tensor], str]:
    """Return the state dict under the family's names, and a note on changes of values.

    In X3D, a norm that pytorchvideo lacks is folded into other layers, see
    ``fold_shortcut_norms``. In MViT, the projections to queries, keys and values are joined or
    split as in the library.
    """
    if family == "mvit":
        return _join_projections(substitute(state, _TORCHVISION_MVIT)), ""
    if family == "ptv_mvit":
        return _split_projections(substitute(state, _PYTORCHVIDEO_MVIT)), ""
    if family == "slowfast":
        return substitute(state, _two_paths()), ""
    if family == "x3d":
        renamed, blocks = fold_shortcut_norms(substitute(state, _x3d()))
        return renamed, f"the shortcut's norm of {', '.join(blocks)} folded" if blocks else ""
    if family == "ptv_resnet":
        return substitute(state, _one_path(architecture)), ""
    return dict(state), ""


def _one_path(architecture: str) -> list[Rule]:
    # In c2d and i3d of pytorchvideo, the pooling after the first stage is a block of its own.
    shift = int(architecture.startswith(("c2d", "i3d")))
    stages = [
        (rf"^s{i + 1}\.pathway0_res(\d+)\.", rf"blocks.{i + shift * (i > 1)}.res_blocks.\1.")
        for i in range(1, 5)
    ]
    return [
        (_STEM + r"conv\.", "blocks.0.conv."),
        (_STEM + r"bn\.", "blocks.0.norm."),
        *stages,
        (r"^head\.projection\.", f"blocks.{5 + shift}.proj."),
        *_RESIDUAL,
    ]


def _two_paths() -> list[Rule]:
    rules: list[Rule] = [
        (_STEM + r"conv\.", r"blocks.0.multipathway_blocks.\1.conv."),
        (_STEM + r"bn\.", r"blocks.0.multipathway_blocks.\1.norm."),
        (r"^head\.projection\.", "blocks.6.proj."),
    ]
    for i in range(5):
        fusion = f"blocks.{i}.multipathway_fusion"
        rules += [
            (rf"^s{i + 1}_fuse\.conv_f2s\.", f"{fusion}.conv_fast_to_slow."),
            (rf"^s{i + 1}_fuse\.bn\.", f"{fusion}.norm."),
            (
                rf"^s{i + 1}\.pathway(\d)_res(\d+)\.",
                rf"blocks.{i}.multipathway_blocks.\1.res_blocks.\2.",
            ),
        ]
    return [*rules, *_RESIDUAL]


def _x3d() -> list[Rule]:
    return [
        # pytorchvideo calls the spatial convolution "conv_t" and the temporal one "conv_xy".
        (_STEM + r"conv_xy\.", "blocks.0.conv.conv_t."),
        (_STEM + r"conv\.", "blocks.0.conv.conv_xy."),
        (r"^head\.conv_5\.", "blocks.5.pool.pre_conv."),
        (r"^head\.conv_5_bn\.", "blocks.5.pool.pre_norm."),
        (r"^head\.lin_5\.", "blocks.5.pool.post_conv."),
        (r"^head\.lin_5_bn\.", "blocks.5.pool.post_norm."),
        *_one_path("x3d"),
        (r"\.branch2\.norm_b\.", ".branch2.norm_b.0."),
        (r"\.branch2\.se\.fc1\.", ".branch2.norm_b.1.block.0."),
        (r"\.branch2\.se\.fc2\.", ".branch2.norm_b.1.block.2."),
    ]


_TORCHVISION_MVIT: list[Rule] = [
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^cls_token$", "pos_encoding.class_token"),
    (r"^pos_embed_(spatial|temporal|class)$", r"pos_encoding.\1_pos"),
    (r"\.attn\.proj\.", ".attn.project.0."),
    (r"\.attn\.pool_([qkv])\.", r".attn.pool_\1.pool."),
    (r"\.attn\.norm_([qkv])\.", r".attn.pool_\1.norm_act.0."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^(blocks\.\d+)\.proj\.", r"\1.project."),
    (r"^head\.projection\.", "head.1."),
]
_PYTORCHVIDEO_MVIT: list[Rule] = [
    (r"^patch_embed\.proj\.", "patch_embed.patch_model."),
    (r"^(cls_token|pos_embed.*)$", r"cls_positional_encoding.\1"),
    (r"^norm_stem\.", "norm_patch_embed."),
    (r"^norm\.", "norm_embed."),
    (r"^head\.projection\.", "head.proj."),
]


def _join_projections(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    joined = {}
    for name, value in state.items():
        if name.startswith("pos_encoding."):
            # PySlowFast's tensors have leading axes of size 1 (batch, class token).
            is_of_class = name.startswith("pos_encoding.class")
            joined[name] = value.flatten() if is_of_class else value.flatten(0, -2)
        elif ".attn.q." in name:
            names = [name.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
            joined[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat([state[n] for n in names])
        elif ".attn.k." not in name and ".attn.v." not in name:
            joined[name] = value
    return joined


def _split_projections(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    split = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            for part, tensor in zip("qkv", value.chunk(3), strict=True):
                split[name.replace(".attn.qkv.", f".attn.{part}.")] = tensor
        else:
            split[name] = value
    return split
