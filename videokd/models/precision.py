"""Precisions, and a guard against convolutions with wrong half-precision kernels.

oneDNN (torch 2.14 on CPUs with AVX512-BF16) returns uninitialised memory as the weight gradient of
a convolution with temporal padding if its input has more than one frame but fewer frames than its
kernel. r2plus1d_18 has this case with clips of 8 frames. The guard does not rely on this rule: it
compares every convolution with float32 at the network's own input shapes, for bfloat16 and float16,
and runs wrong convolutions in float32.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videokd.models.levels import Backbone, compute_level_shapes

logger = logging.getLogger(__name__)

ClipShape = tuple[int, int, int, int]

# Config value -> dtype of autocast; float32 runs without autocast.
PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

# bf16 keeps 8 bits and float16 11: the error of a correct kernel is about 0.003, that of a wrong
# kernel is unbounded.
MAX_RELATIVE_ERROR = 0.05

_NUM_REPEATS = 2
_BATCH_SIZE = 2
# On a CPU, larger layers are checked on smaller inputs; full size would take minutes.
_MAX_CPU_MULTIPLICATIONS = 200_000_000
# Cache of errors for this process, which may build many networks with the same convolutions.
_measured: dict[tuple[Any, ...], dict[str, float]] = {}
_POISON_BYTES = tuple(2**i for i in range(10, 23))


@dataclass(frozen=True)
class BrokenConv:
    """Convolutions of one kind with wrong half-precision results at one input shape."""

    names: tuple[str, ...]
    """Dotted names in the backbone, one or more."""
    kernel_size: tuple[int, ...]
    """Kernel size over (T, H, W)."""
    input_shape: ClipShape
    """(C, T, H, W) of their input in the network."""
    errors: dict[str, float]
    """"output", "input gradient", "weight gradient" -> worst relative L2 error; inf for NaN."""


class Float32Conv3d(nn.Conv3d):
    """Convolution that computes in float32 under autocast and returns its input's dtype."""

    @classmethod
    def replacing(cls, conv: nn.Conv3d) -> "Float32Conv3d":
        """Return a replacement for ``conv`` that shares its parameters."""
        new = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            stride=conv.stride,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            dilation=conv.dilation,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device="meta",
        )
        # The same objects, because an optimizer may already hold them.
        new.weight, new.bias = conv.weight, conv.bias
        return new.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, T, H, W) of any float dtype; the result has that dtype."""
        if input.is_meta:  # autocast does not support the meta device
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype)).to(input.dtype)


def guard_convs(
    backbone: Backbone,
    clip_shape: ClipShape,
    device: torch.device,
    dtype: torch.dtype = torch.bfloat16,
) -> list[BrokenConv]:
    """Replace convolutions of ``backbone`` that are wrong in half precision by float32 ones.

    Logs one warning if there are any. Parameters, their names and their memory layout do not
    change.

    Args:
        backbone: The network; changed in place.
        clip_shape: (3, T, H, W) of one clip.
        device: Training device.
        dtype: Autocast dtype, bfloat16 or float16.

    Returns:
        Wrong convolutions; empty if all are correct.
    """
    broken = check_convs(backbone, clip_shape, device, dtype)
    for entry in broken:
        for name in entry.names:
            conv = backbone.get_submodule(name)
            # A layer can be listed for two input shapes.
            if isinstance(conv, nn.Conv3d) and not isinstance(conv, Float32Conv3d):
                backbone.set_submodule(name, Float32Conv3d.replacing(conv))
    if broken:
        _warn(_name(dtype), device.type, "; ".join(_describe(entry) for entry in broken))
    return broken


@cache
def _warn(precision: str, device_type: str, text: str) -> None:
    """Log a warning about wrong convolutions, once per process and text."""
    logger.warning(
        "%s is wrong on this %s (torch %s) for some convolutions, which run in float32: %s",
        precision,
        device_type,
        torch.__version__,
        text,
    )


def _name(dtype: torch.dtype) -> str:
    return next(name for name, known in PRECISIONS.items() if known == dtype)


def check_convs(
    backbone: Backbone,
    clip_shape: ClipShape,
    device: torch.device,
    dtype: torch.dtype = torch.bfloat16,
) -> list[BrokenConv]:
    """Check every Conv3d of ``backbone`` under autocast against float32, on random data.

    Output, input gradient and weight gradient are compared for a batch of two at the input shapes
    of a clip, twice in each of two memory layouts. Free memory is filled with NaN before, because
    a kernel that leaves a part of its result unwritten could otherwise be right by chance. Weights
    and global random generators do not change.

    Args:
        backbone: The network.
        clip_shape: (3, T, H, W) of one clip.
        device: Device to compute on.
        dtype: Autocast dtype.

    Returns:
        Convolutions with a relative error above ``MAX_RELATIVE_ERROR``.

    Raises:
        InputError: The network does not accept this clip size.
    """
    kinds: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, shapes in _find_input_shapes(backbone, clip_shape).items():
        conv: Any = backbone.get_submodule(name)
        if isinstance(conv, Float32Conv3d):
            continue
        layout = (tuple(conv.weight.shape), conv.weight.stride())
        options = (conv.stride, conv.padding, conv.dilation, conv.groups)
        for shape in sorted(shapes):
            kinds[(layout, options, shape)].append(name)
    broken = []
    for (_, options, shape), names in kinds.items():
        weight = backbone.get_parameter(f"{names[0]}.weight")
        size = _cut(shape, weight, options[0]) if device.type == "cpu" else shape
        key = (weight.shape, weight.stride(), options, size, device, dtype)
        if key not in _measured:
            _measured[key] = _measure(weight, options, size, device, dtype)
        errors = _measured[key]
        if max(errors.values()) > MAX_RELATIVE_ERROR:
            broken.append(BrokenConv(tuple(names), tuple(weight.shape[2:]), shape, errors))
    return broken


def _find_input_shapes(backbone: Backbone, clip_shape: ClipShape) -> dict[str, set[ClipShape]]:
    """Return Conv3d name -> its input shapes (C, T, H, W), from a forward on the meta device."""
    found: dict[str, set[ClipShape]] = defaultdict(set)

    def make_hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            channels, time, height, width = inputs[0].shape[-4:]
            found[name].add((channels, time, height, width))

        return hook

    handles = [
        module.register_forward_pre_hook(make_hook(name))
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv3d)
    ]
    try:
        compute_level_shapes(backbone, clip_shape)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _cut(shape: ClipShape, weight: Tensor, stride: tuple[int, ...]) -> ClipShape:
    channels, time, height, width = shape
    positions = time * height * width / (stride[0] * stride[1] * stride[2])
    share = _MAX_CPU_MULTIPLICATIONS / (positions * weight.numel())
    if share >= 1:
        return shape
    height, width = (max(8, int(side * share**0.5)) for side in (height, width))
    return channels, time, height, width


def _measure(
    like: Tensor,
    options: tuple[Any, ...],
    input_shape: ClipShape,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, float]:
    """Return the worst relative L2 errors of half-precision output and gradients over all repeats.

    Args:
        like: Weight that defines shape and layout; its values are replaced by random ones.
        options: Stride, padding, dilation and groups.
        input_shape: (C, T, H, W) of the input.
        device: Device to compute on.
        dtype: Autocast dtype.
    """
    rng = torch.Generator(device).manual_seed(0)
    weight = torch.empty_like(like.detach(), device=device).normal_(generator=rng)
    clips = torch.randn(_BATCH_SIZE, *input_shape, generator=rng, device=device)
    expected = _convolve(clips, weight, options, dtype=None)
    worst = dict.fromkeys(expected, 0.0)
    # The layout of the input selects the kernel, and it changes within some networks.
    for memory_format in (torch.contiguous_format, torch.channels_last_3d):
        same_clips = clips.to(memory_format=memory_format)
        for _ in range(_NUM_REPEATS):
            values = _convolve(same_clips, weight, options, dtype=dtype)
            for name, value in values.items():
                worst[name] = max(worst[name], _relative_error(value, expected[name]))
    return worst


def _convolve(
    clips: Tensor, weight: Tensor, options: tuple[Any, ...], *, dtype: torch.dtype | None
) -> Mapping[str, Tensor]:
    inputs = (clips.clone().requires_grad_(), weight.clone().requires_grad_())
    _poison_free_memory(clips.device)
    with (
        torch.enable_grad(),
        torch.autocast(clips.device.type, dtype, enabled=dtype is not None),
    ):
        output = F.conv3d(*inputs, None, *options)
    rng = torch.Generator(clips.device).manual_seed(1)
    slope = torch.randn(output.shape, generator=rng, device=clips.device).to(output.dtype)
    _poison_free_memory(clips.device)
    gradients = torch.autograd.grad(output, inputs, slope)
    names = ("output", "input gradient", "weight gradient")
    return dict(zip(names, (output.detach(), *gradients), strict=True))


def _poison_free_memory(device: torch.device) -> None:
    """Fill and free blocks of many sizes, with bytes that are NaN in half precision and float32."""
    blocks = [torch.full((size,), 255, dtype=torch.uint8, device=device) for size in _POISON_BYTES]
    del blocks


def _relative_error(value: Tensor, expected: Tensor) -> float:
    # float64, so that huge wrong values do not overflow. The clamp is for norm 0: a weight that
    # sees only padding has no gradient.
    scale = expected.double().norm().clamp(min=1e-12)
    error = ((value.double() - expected.double()).norm() / scale).item()
    return error if error < float("inf") else float("inf")


def _describe(entry: BrokenConv) -> str:
    wrong = ", ".join(
        f"{name} off by {error:.2g}"
        for name, error in entry.errors.items()
        if error > MAX_RELATIVE_ERROR
    )
    kernel = "x".join(map(str, entry.kernel_size))
    shape = "x".join(map(str, entry.input_shape))
    return f"{', '.join(entry.names)} (kernel {kernel}, input {shape}: {wrong})"
