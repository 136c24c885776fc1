"""Terminal summary of the scanned files of datasets."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from videokd.data.lists.media import MediaTable

_NUM_COMMON = 3
_NUM_NAMED = 10


def show_summary(tables: Mapping[str, MediaTable], console: Console) -> None:
    """Print a table of the datasets, and the reasons of unusable files.

    Args:
        tables: Dataset name -> table of its files.
        console: Output console.
    """
    columns = ("videos", "GiB", "hours", "frames", "fps", "size", "codec", "cannot be used")
    table = Table("", *columns)
    for name, files in tables.items():
        table.add_row(name, *map(escape, _describe(files)))
    console.print(table)
    for name, files in tables.items():
        for line in _describe_problems(files):
            console.print(f"{name}: {line}", highlight=False, markup=False, soft_wrap=True)


def _describe(files: MediaTable) -> list[str]:
    is_good = files.numbers("num_frames") > 0
    good = files.take(np.flatnonzero(is_good))
    frames = good.numbers("num_frames")
    span = f"{frames.min()} / {np.median(frames):g} / {frames.max()}" if len(good) else "-"
    return [
        f"{len(files)}",
        f"{files.numbers('num_bytes').sum() / 2**30:.2f}",
        f"{good.numbers('duration_sec').sum() / 3600:.2f}",
        span,
        _describe_common(f"{fps:.5g}" for (fps,) in good.select("fps")),
        _describe_common(f"{w}x{h}" for w, h in good.select("width", "height")),
        _describe_common("/".join(names) for names in good.select("container", "codec")),
        f"{len(files) - len(good)}",
    ]


def _describe_common(values: Iterable[Hashable]) -> str:
    counts = Counter(values)
    common = [f"{value} ({count})" for value, count in counts.most_common(_NUM_COMMON)]
    rest = len(counts) - len(common)
    return "\n".join([*common, *([f"{rest} others"] if rest else [])]) or "-"


def _describe_problems(files: MediaTable) -> Iterable[str]:
    num_counted = int(files.numbers("is_counted").sum())
    if num_counted:
        yield f"the frames of {num_counted} videos had to be counted by decoding"
    bad = files.take(np.flatnonzero(files.numbers("num_frames") == 0))
    causes = Counter(cause for (cause,) in bad.select("cause"))
    first = {info.cause: info.path for info in reversed(bad)}
    for cause, count in causes.most_common(_NUM_NAMED):
        # A file name that is not valid UTF-8 cannot be printed unchanged.
        name = first[cause].encode("utf-8", "backslashreplace").decode("utf-8")
        yield f"{count} cannot be used: {cause} (first: {name})"
    if len(causes) > _NUM_NAMED:
        yield f"{len(causes) - _NUM_NAMED} other causes"
