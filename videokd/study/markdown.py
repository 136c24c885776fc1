"""Parts of a study's page: sections, tables, and numbers over seeds as text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    title: str
    text: str
    """Markdown without the title and the pictures."""
    pictures: tuple[str, ...]
    """File names in the folder of the pictures."""


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, num_names: int = 1
) -> str:
    """Return a Markdown table.

    Args:
        header: Names of the columns.
        rows: Rows with one cell per column.
        num_names: Number of leading columns with names, aligned left; the other columns are
            numbers.
    """
    rule = ["---" if column < num_names else "---:" for column in range(len(header))]
    # Names of classes and datasets come from the user and may contain "|".
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (header, rule, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def count_seeds(num: int) -> str:
    """Return "1 seed" or "3 seeds"."""
    return "1 seed" if num == 1 else f"{num} seeds"


def format_seeds(values: Iterable[float], *, digits: int = 1) -> str:
    """Return "mean +- std" of one number over seeds, or the number alone for a single seed.

    Args:
        values: One value per seed; nan leaves a seed out.
        digits: Number of decimals.

    Returns:
        The mean with the sample standard deviation (n - 1); "-" if no seed has a value.
    """
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return "-"
    mean = f"{np.mean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} +- {np.std(known, ddof=1):.{digits}f}"
