"""Table of the trainings that a study will do, with their cost, printed before it starts."""

from collections.abc import Iterable

from rich.table import Table

from videokd.pipeline.cost import list_chain
from videokd.study.finished import Finished
from videokd.study.study import Job, Study


def plan_table(study: Study, finished: Finished) -> Table:
    """Build the table of a study's trainings by kind, and of what is left to do.

    The time is estimated from the finished trainings' seconds per clip pass; without any it is left
    out.

    Args:
        study: The study.
        finished: What is known of its trainings.
    """
    rate = _seconds_per_pass(study, finished)
    table = Table(
        title=f"Study: {len(study.variants)} variants, {len(study.jobs)} trainings to do or check",
        caption="Clip passes: forwards of one clip through the first student; see README",
    )
    columns = ("trainings", "number", "finished", "clip passes, thousands", "minutes left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    kinds: dict[str, list[Job]] = {}
    for job in study.jobs:
        kinds.setdefault(job.training.key, []).append(job)
    for kind, jobs in kinds.items():
        table.add_row(kind, *_describe(jobs, rate))
    table.add_row("all", *_describe(study.jobs, rate))
    return table


def _describe(jobs: Iterable[Job], rate: float | None) -> tuple[str, ...]:
    jobs = list(jobs)
    left = [job for job in jobs if not job.run.plan.is_finished(job.training)]
    passes = sum(_passes(job) for job in left)
    minutes = "-" if rate is None else f"{passes * rate / 60:.0f}"
    every = sum(_passes(job) for job in jobs)
    return str(len(jobs)), str(len(jobs) - len(left)), f"{every / 1000:,.0f}", minutes


def _passes(job: Job) -> float:
    return job.run.plan.meter.of_training(job.training)


def _seconds_per_pass(study: Study, finished: Finished) -> float | None:
    """Return the mean over the finished trainings of a study; None if there are none."""
    seconds = passes = 0.0
    seen: set[str] = set()
    for run in study.runs.values():
        for training in list_chain(*run.plan.trainings):
            record = finished.trainings.get(training.fingerprint)
            if record and training.fingerprint not in seen:
                seen.add(training.fingerprint)
                seconds += record["seconds"]
                passes += run.plan.meter.of_training(training)
    return seconds / passes if passes else None
