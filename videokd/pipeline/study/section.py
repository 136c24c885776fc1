"""A section of a study's page, and the tables in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    text: str
    """Markdown, without the title and the pictures."""
    pictures: tuple[str, ...]
    """Names of files in the folder of the pictures."""


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, num_names: int = 1
) -> str:
    """Return a table in markdown.

    Args:
        header: Names of the columns.
        rows: Cells, as many as columns.
        num_names: Columns of names, aligned left; numbers follow.
    """
    rule = ["---" if column < num_names else "---:" for column in range(len(header))]
    # Names of classes and datasets are the user's.
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (header, rule, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def count_seeds(num: int) -> str:
    """Return "1 seed" or "3 seeds"."""
    return "1 seed" if num == 1 else f"{num} seeds"


def format_seeds(values: Iterable[float], *, digits: int = 1) -> str:
    """Return "mean +- std" of one number over seeds, or the number alone of a single seed.

    Args:
        values: One per seed; nan where it is not defined, which leaves that seed out.
        digits: After the point.

    Returns:
        With the sample standard deviation (n - 1); "-" where no seed has the number.
    """
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return "-"
    mean = f"{np.mean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} +- {np.std(known, ddof=1):.{digits}f}"
