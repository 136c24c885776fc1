"""Tables of a study's plan, printed before it starts: its trainings, variants and their cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from videokd.engine.training_file import read_training_file
from videokd.pipeline.cost import list_chain
from videokd.study.finished import Finished
from videokd.study.study import Study


@dataclass(frozen=True)
class _CostRow:
    """Cost of one training."""

    kind: str
    passes: float
    seconds: float | None
    """None if it is not finished."""
    is_left: bool
    """Whether the study will train it."""


def training_table(study: Study, finished: Finished) -> Table:
    """Build the table of a study's trainings by kind, and of those that are left.

    The time is estimated from the seconds per clip pass of finished trainings of the same kind, or
    of all kinds where that kind has none; without any it is left out.

    Args:
        study: The study.
        finished: Trainings and scores that were known before.
    """
    rows = _list_rows(study, finished)
    table = Table(
        title=f"Study: {len(study.variants)} variants, {len(rows)} trainings",
        caption="Clip passes: forwards of one clip through the first student; see README",
    )
    columns = ("trainings", "number", "finished", "left", "clip passes, thousands", "minutes left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    minutes = []
    for kind in dict.fromkeys(row.kind for row in rows):
        own = [row for row in rows if row.kind == kind]
        minutes.append(_estimate_minutes(own, rows))
        table.add_row(kind, *_count(own), _format(minutes[-1]))
    known = [value for value in minutes if value is not None]
    total = sum(known) if len(known) == len(minutes) else None
    table.add_row("all", *_count(rows), _format(total))
    return table


def variant_table(study: Study) -> Table:
    """Build the table of the clip passes of each variant, with all trainings that it needs."""
    table = Table(title="Clip passes of each variant and of all that it needs")
    table.add_column("variant")
    table.add_column("seeds", justify="right")
    table.add_column("thousands per seed", justify="right")
    for variant in study.variants:
        passes = np.mean([study.clip_passes(variant, seed) for seed in variant.seeds])
        table.add_row(variant.title, str(len(variant.seeds)), f"{passes / 1000:,.1f}")
    return table


def _list_rows(study: Study, finished: Finished) -> list[_CostRow]:
    """Return a row for each training that the study's variants need, finished or not."""
    wanted = {job.training.fingerprint for job in study.jobs}
    rows: dict[str, _CostRow] = {}
    for variant in study.variants:
        for seed in variant.seeds:
            run = study.runs[variant.name, seed]
            for training in list_chain(*study.row(variant, seed).values()):
                key = training.fingerprint
                if key in rows:
                    continue
                record = read_training_file(run.plan.path(training), training.inputs)
                is_here = record["is_finished"]
                known = record if is_here else finished.trainings.get(key)
                rows[key] = _CostRow(
                    training.key,
                    study.sum_passes(run, [training]),
                    None if known is None else float(known["seconds"]),
                    key in wanted and not is_here,
                )
    return list(rows.values())


def _estimate_minutes(own: Sequence[_CostRow], rows: Sequence[_CostRow]) -> float | None:
    """Return the minutes of the trainings of a kind that are left; None without a known rate.

    Args:
        own: Trainings of the kind.
        rows: All trainings.
    """
    left = sum(row.passes for row in own if row.is_left)
    if not left:
        return 0.0
    for some in (own, rows):
        seconds = sum(row.seconds for row in some if row.seconds is not None)
        passes = sum(row.passes for row in some if row.seconds is not None)
        if passes:
            return left * seconds / passes / 60
    return None


def _count(rows: Sequence[_CostRow]) -> tuple[str, ...]:
    num_finished = sum(row.seconds is not None for row in rows)
    num_left = sum(row.is_left for row in rows)
    passes = sum(row.passes for row in rows)
    return str(len(rows)), str(num_finished), str(num_left), f"{passes / 1000:,.1f}"


def _format(minutes: float | None) -> str:
    return "-" if minutes is None else f"{minutes:.0f}"
