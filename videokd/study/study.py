"""A study: its variants, their configs under each seed, and the trainings that they need."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from rich.console import Console

from videokd.config import override_config
from videokd.config.load import split_overrides
from videokd.engine.stop import StopRequest
from videokd.models.build import fill_model_inputs
from videokd.pipeline.baselines import BASELINES
from videokd.pipeline.cost import list_chain
from videokd.pipeline.plan import ExperimentPlan
from videokd.pipeline.run import Run, prepare_run
from videokd.pipeline.training import Training
from videokd.study.finished import Finished
from videokd.utils.errors import InputError

ROWS = ("experts", "joint", "generalist", "students", *BASELINES)

# Keys that the study itself sets. All variants share one store of trainings.
_OF_THE_STUDY = ("SEED", "OUTPUT_DIR", "BASELINES", "VARIANTS")


@dataclass(frozen=True)
class Variant:
    """One line of a study's tables: a result row of a changed config."""

    name: str
    title: str
    group: str
    """Name of the variant's table."""
    curve: str
    """Line of the picture of accuracy against cost; "" for none."""
    row: str
    """One of ``ROWS``."""
    against: str
    """Name of the variant that it is compared with; its own for none."""
    opts: tuple[Any, ...]
    """KEY, VALUE, ... overrides of the study's config."""
    seeds: tuple[int, ...]


def read_variants(
    cfg: CfgNode, seeds: Sequence[int], wanted: Sequence[str] = ()
) -> tuple[Variant, ...]:
    """Return the variants of a config, in the order of VARIANTS.

    Args:
        cfg: The study's config.
        seeds: Seeds of the study; a variant with NUM_SEEDS uses only the first NUM_SEEDS of them.
        wanted: Names of the variants to return; empty for all.

    Raises:
        InputError: The config has no variants, ``wanted`` has an unknown name, a seed is negative
            or repeated, or a variant is invalid.
    """
    known = list(cfg.VARIANTS)
    if not known:
        raise InputError("VARIANTS is empty: name what to compare, see configs/demo/study.yaml")
    for name in wanted:
        if name not in known:
            raise InputError(f"no variant {name!r} in this config; there are {', '.join(known)}")
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds must be >= 0 and named once each, got {list(seeds)}")
    names = [name for name in known if name in wanted or not wanted]
    return tuple(_read_variant(cfg, name, tuple(seeds)) for name in names)


def variant_config(cfg: CfgNode, variants: Sequence[Variant], seed: int) -> CfgNode:
    """Return the config of variants that differ only in their row, with the baselines they need.

    Args:
        cfg: The study's config.
        variants: Variants with equal ``opts``.
        seed: The seed.

    Raises:
        InputError: A key or a value is wrong; the message names a variant.
    """
    rows = {variant.row for variant in variants}
    baselines = [key for key in BASELINES if key in rows]
    opts = [*variants[0].opts, "BASELINES", baselines, "SEED", seed]
    return override_config(cfg, opts, source=f"VARIANTS.{variants[0].name}")


def _read_variant(cfg: CfgNode, name: str, seeds: tuple[int, ...]) -> Variant:
    node, known = cfg.VARIANTS[name], list(cfg.VARIANTS)
    if node.AGAINST and node.AGAINST not in known:
        raise InputError(
            f"VARIANTS.{name}.AGAINST must be one of {', '.join(known)}, or empty for the first; "
            f"got {node.AGAINST!r}"
        )
    if node.ROW not in ROWS:
        raise InputError(f"VARIANTS.{name}.ROW must be one of {', '.join(ROWS)}; got {node.ROW!r}")
    if node.NUM_SEEDS < 0:
        raise InputError(f"VARIANTS.{name}.NUM_SEEDS must be >= 0 (0 = all), got {node.NUM_SEEDS}")
    try:
        keys = [key for key, _ in split_overrides(node.OPTS)]
    except InputError as error:
        raise InputError(f"VARIANTS.{name}.OPTS: {error}") from error
    for key in keys:
        if key.split(".")[0] in _OF_THE_STUDY:
            raise InputError(
                f"VARIANTS.{name}.OPTS must not set {key}: the study does; leave it out"
            )
        if keys.count(key) > 1:
            raise InputError(f"VARIANTS.{name}.OPTS sets {key} twice; leave one of them out")
    return Variant(
        name=name,
        title=node.TITLE or name,
        group=node.GROUP,
        curve=node.CURVE,
        row=node.ROW,
        against=node.AGAINST or known[0],
        opts=tuple(node.OPTS),
        seeds=seeds[: node.NUM_SEEDS] if node.NUM_SEEDS else seeds,
    )


@dataclass(frozen=True)
class Job:
    """One training, and the scoring of its model if a table shows it."""

    run: Run
    """Run of the first variant that needs the training."""
    training: Training
    seed: int
    folder: Path
    needs: tuple[Path, ...]
    """Folders of the trainings that must be finished before."""
    variants: tuple[str, ...]
    """Names of the variants that need the training."""
    is_shown: bool
    """Whether a variant's row shows the training, so that it is scored."""

    def __str__(self) -> str:
        names = ", ".join(self.variants[:3]) + (", ..." if len(self.variants) > 3 else "")
        return f"seed {self.seed} {self.training.folder} [{names}]"


@dataclass(frozen=True)
class Study:
    """Variants of a study, their runs and their trainings."""

    variants: tuple[Variant, ...]
    runs: dict[tuple[str, int], Run]
    """(variant, seed) -> run of its experiment."""
    jobs: tuple[Job, ...]
    """One job per training, ordered by seed; each job follows the jobs that it needs."""

    def row(self, variant: Variant, seed: int) -> dict[str, Training]:
        """Return dataset name -> the training that a variant shows for it."""
        return self.runs[variant.name, seed].plan.row(variant.row)

    def clip_passes(self, variant: Variant, seed: int) -> float:
        """Return the clip passes of all trainings that a variant needs, each counted once."""
        chain = list_chain(*self.row(variant, seed).values())
        return self.sum_passes(self.runs[variant.name, seed], chain)

    def sum_passes(self, run: Run, trainings: Iterable[Training]) -> float:
        """Return the clip passes of trainings, without those that they need.

        The unit is a pass through the student of the first variant, whatever that of the run is.
        """
        meter, first = run.plan.meter, next(iter(self.runs.values())).plan.meter
        return sum(map(meter.of_training, trainings)) * meter.unit / first.unit

    def collect(self, finished: Finished, split: str) -> Finished:
        """Add the trainings and scores that are on disk to ``finished``, and return it."""
        for variant in self.variants:
            for seed in variant.seeds:
                for training in self.row(variant, seed).values():
                    finished.collect(self.runs[variant.name, seed], training, split)
        return finished


def make_study(
    cfg: CfgNode,
    variants: Sequence[Variant],
    console: Console,
    stop: StopRequest,
    *,
    split: str = "val",
    finished: Finished | None = None,
) -> Study:
    """Plan every variant under each of its seeds, and collect the trainings.

    Trainings are stored in OUTPUT_DIR/trainings by fingerprint, so variants share equal trainings.

    Args:
        cfg: The study's config.
        variants: Variants of that config.
        console: Console of the progress bars for generating and decoding videos.
        stop: Stop request, checked between videos and between plans.
        split: "val" or "test", the split that is scored.
        finished: Trainings and scores that are known and not done again; None for none.

    Raises:
        InputError: See ``prepare_run``.
        Stopped: A signal arrived.
    """
    seeds = list(dict.fromkeys(seed for variant in variants for seed in variant.seeds))
    alike: dict[str, list[Variant]] = {}
    for variant in variants:
        alike.setdefault(json.dumps(variant.opts), []).append(variant)
    runs: dict[tuple[str, int], Run] = {}
    for seed in seeds:
        with_data: dict[str, Run] = {}
        for group in alike.values():
            present = [variant for variant in group if seed in variant.seeds]
            if present:
                run = _make_run(variant_config(cfg, present, seed), with_data, console, stop)
                runs.update({(variant.name, seed): run for variant in present})
            stop.raise_if_set()
    jobs = [job for seed in seeds for job in _collect_jobs(variants, runs, seed)]
    if finished is not None:
        jobs = _drop_known(jobs, finished, split)
    return Study(tuple(variants), runs, tuple(jobs))


def _drop_known(jobs: Sequence[Job], finished: Finished, split: str) -> list[Job]:
    """Return the jobs whose scores are not known, and the jobs that these need."""
    by_folder = {job.folder: job for job in jobs}
    wanted: set[Path] = set()

    def add(folder: Path) -> None:
        if folder not in wanted:
            wanted.add(folder)
            for need in by_folder[folder].needs:
                add(need)

    for job in jobs:
        if job.is_shown and not finished.has(job.run, job.training, split, is_shown=True):
            add(job.folder)
    return [job for job in jobs if job.folder in wanted]


def _make_run(cfg: CfgNode, with_data: dict[str, Run], console: Console, stop: StopRequest) -> Run:
    cfg = fill_model_inputs(cfg)
    # Reuse loaded datasets: reading lists and opening caches takes longer than the rest of a plan.
    parts = (cfg.DATASETS, cfg.DATA, cfg.SYNTHETIC, cfg.DATA_LOADER, cfg.DEVICE)
    key = json.dumps(parts)
    folder = Path(cfg.OUTPUT_DIR)
    store = folder / "trainings"
    if key not in with_data:
        with_data[key] = prepare_run(cfg, console, stop, store=store)
        return with_data[key]
    like = with_data[key]
    plan = ExperimentPlan(cfg, like.datasets, folder, store=store)
    return replace(like, cfg=cfg, plan=plan)


def _collect_jobs(
    variants: Sequence[Variant], runs: dict[tuple[str, int], Run], seed: int
) -> list[Job]:
    jobs: dict[Path, Job] = {}

    def add(run: Run, training: Training, variant: str, *, is_shown: bool) -> Path:
        needs = tuple(add(run, need, variant, is_shown=False) for need in training.needs)
        folder = run.plan.path(training)
        known = jobs.get(folder) or Job(run, training, seed, folder, needs, (), False)
        jobs[folder] = replace(
            known,
            variants=tuple(dict.fromkeys((*known.variants, variant))),
            is_shown=known.is_shown or is_shown,
        )
        return folder

    for variant in variants:
        if seed in variant.seeds:
            run = runs[variant.name, seed]
            for training in run.plan.row(variant.row).values():
                add(run, training, variant.name, is_shown=True)
    return list(jobs.values())
