"""Page of all architectures: levels, parameters and multiply-adds, beside the published figures."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import nn

from videokd.models.family import Published, Size
from videokd.models.flops import count_multiply_adds
from videokd.models.levels import LEVEL_NAMES, Backbone, LevelShapes, compute_level_shapes
from videokd.models.zoo import FAMILIES, get_architecture, get_size
from videokd.utils.errors import InputError

_HEADER = """\
# Architectures

Made by `videokd models`; do not edit. Names are values of
`EXPERTS.<NAME>.ARCH` and `STUDENTS.<NAME>.ARCH`.

The clip is that of the published weights: frames x source frames from one to the next x px. Levels
are C x T x H x W, the embedding is what the classifier sees. Parameters are in millions, with a
classifier of 400 classes unless noted. GFLOPs are 1e9 multiply-adds of one clip in convolutions,
matrix products and attention, by torch's counter; published counts may include norms and
activations. A published count of another clip says of which. In brackets: ours (of that clip) over
the published figure, where they differ by more than 1 %.
"""
_COLUMNS: tuple[str, ...] = (
    *("architecture", "clip", *LEVEL_NAMES, "embedding"),
    *("params", "published", "GFLOPs", "published"),
)
# Published figures are rounded; smaller differences are ignored.
_TOLERANCE = 0.01

_Clip = tuple[int, int]  # frames, px


@dataclass(frozen=True)
class ModelRow:
    """Measured and published figures of one architecture at its published clip size."""

    name: str
    size: Size
    shapes: LevelShapes
    num_params: float
    """Parameters in millions, with the classifier."""
    gflops: float
    """1e9 multiply-adds of one clip."""
    compared_gflops: float
    """1e9 multiply-adds of one clip of the size that the published figure counts."""

    def differences(self) -> list[str]:
        """Return a text for each figure that differs from the published one beyond rounding."""
        published = self.size.published
        if published is None:
            return []
        pairs = {
            "params": (self.num_params, published.num_params),
            "GFLOPs": (self.compared_gflops, published.gflops),
        }
        return [
            f"{ours:.2f} {what} instead of {theirs:g}"
            for what, (ours, theirs) in pairs.items()
            if _differ(ours, theirs)
        ]


def main(arguments: Sequence[str]) -> int:
    """Print the page of the architectures whose names match an optional pattern."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="like 'x3d*'")
    sys.stdout.write(list_models(parser.parse_args(arguments).pattern))
    return 0


def list_models(pattern: str = "*") -> str:
    """Return the Markdown page of the architectures whose names match a shell pattern.

    Networks are built and run on the meta device, without computation.

    Raises:
        InputError: No name matches.
    """
    sizes = {name: size for family in FAMILIES.values() for name, size in family.sizes.items()}
    names = [name for name in sizes if fnmatch(name, pattern)]
    if not names:
        raise InputError(f"no architecture matches {pattern!r}; known are {', '.join(sizes)}")
    rows, missing = [], []
    for name in names:
        try:
            rows.append(describe_model(name))
        except InputError as error:  # the library of the architecture is not installed
            missing.append(f"- `{name}`: {error}")
    parts = [_HEADER, _format_table(rows), *_format_notes(rows)]
    if missing:
        parts.append("## Not available\n\n" + "\n".join(missing) + "\n")
    return "\n".join(parts)


def describe_model(name: str) -> ModelRow:
    """Build an architecture at its published size on the meta device and measure it.

    Raises:
        InputError: The architecture's library is not installed.
    """
    size = get_size(name)
    published = size.published or Published(0.0, 0.0, "")
    clip = (size.model_input.num_frames, size.model_input.crop_size)
    counted = (published.num_frames or clip[0], published.crop_size or clip[1])
    net, wrap = _build(name, clip, published.num_classes)
    num_params = sum(p.numel() for p in net.parameters()) / 1e6
    gflops = compared = _count_gflops(net, clip)
    if counted != clip:
        # A new network, since some architectures are built for one clip size.
        compared = _count_gflops(_build(name, counted, published.num_classes)[0], counted)
    with torch.device("meta"):
        shapes = compute_level_shapes(wrap(net), _shape(clip))
    return ModelRow(name, size, shapes, num_params, gflops, compared)


def _build(
    name: str, clip: _Clip, num_classes: int
) -> tuple[nn.Module, Callable[[nn.Module], Backbone]]:
    """Return the network of an architecture on the meta device, and its wrapping function."""
    architecture = get_architecture(name, num_frames=clip[0], crop_size=clip[1])
    try:
        with torch.device("meta"):
            net = architecture.build_plain(num_classes)
    except RuntimeError:  # pytorchvideo reads a number off a tensor while it builds an MViT
        net = architecture.build_plain(num_classes).to("meta")
    return net.eval(), architecture.wrap


def _count_gflops(net: nn.Module, clip: _Clip) -> float:
    with torch.device("meta"):
        return count_multiply_adds(net, _shape(clip)) / 1e9


def _shape(clip: _Clip) -> tuple[int, int, int, int]:
    return (3, clip[0], clip[1], clip[1])


def _differ(ours: float, theirs: float) -> bool:
    return theirs > 0 and abs(ours / theirs - 1) > _TOLERANCE


def _format_table(rows: Iterable[ModelRow]) -> str:
    cells = [_COLUMNS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(map(str.ljust, row, widths)) for row in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "".join(f"| {line} |\n" for line in lines)


def _cells(row: ModelRow) -> tuple[str, ...]:
    clip = row.size.model_input
    published = row.size.published or Published(0.0, 0.0, "")
    counted = ((published.num_frames, "frames"), (published.crop_size, "px"))
    words = ", ".join(f"{value} {unit}" for value, unit in counted if value)
    return (
        row.name,
        f"{clip.num_frames}x{clip.sampling_rate}x{clip.crop_size}",
        *("x".join(map(str, row.shapes.levels[level])) for level in LEVEL_NAMES),
        str(row.shapes.embedding_dim),
        f"{row.num_params:.2f}",
        _format_published(row.num_params, published.num_params),
        f"{row.gflops:.2f}",
        _format_published(row.compared_gflops, published.gflops) + (words and f" at {words}"),
    )


def _format_published(ours: float, theirs: float) -> str:
    if theirs == 0:
        return "-"
    return f"{theirs:g} ({ours / theirs - 1:+.1%})" if _differ(ours, theirs) else f"{theirs:g}"


def _format_notes(rows: Sequence[ModelRow]) -> list[str]:
    """Return the non-empty sections below the table."""
    remarks: dict[str, list[str]] = {}
    sources: dict[str, list[str]] = {}
    weights = []
    for row in rows:
        published = row.size.published
        if published is not None:
            source = published.source
            if published.num_classes != 400:
                source += f" ({published.num_classes} classes)"
            sources.setdefault(source, []).append(row.name)
            if row.differences() or published.remark:
                text = published.remark or f"{' and '.join(row.differences())}, not explained"
                remarks.setdefault(text, []).append(row.name)
        if row.size.weights:
            weights.append(f"- `{row.name}`: {_join(row.size.weights)}")
    sections = {
        "Where the published figures stand": [f"- {s}: {_join(n)}" for s, n in sources.items()],
        "Why ours differ": [f"- {_join(names)}: {text}" for text, names in remarks.items()],
        "Weights of the libraries": weights,
    }
    return [f"## {title}\n\n" + "\n".join(s) + "\n" for title, s in sections.items() if s]


def _join(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
