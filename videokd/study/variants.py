"""Variants of a study, and the config of each variant under one seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fvcore.common.config import CfgNode

from videokd.config import override_config
from videokd.config.load import split_overrides
from videokd.pipeline.baselines import BASELINES
from videokd.utils.errors import InputError

ROWS = ("experts", "joint", "students", *BASELINES)

# Keys that the study itself sets. All variants share one store of trainings.
_OF_THE_STUDY = ("SEED", "OUTPUT_DIR", "BASELINES", "VARIANTS")


@dataclass(frozen=True)
class Variant:
    """One line of a study's tables: a result row of a changed config."""

    name: str
    title: str
    group: str
    """Name of the variant's table."""
    row: str
    """One of ``ROWS``."""
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
    return tuple(_read_variant(name, cfg.VARIANTS[name], tuple(seeds)) for name in names)


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


def _read_variant(name: str, node: CfgNode, seeds: tuple[int, ...]) -> Variant:
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
        row=node.ROW,
        opts=tuple(node.OPTS),
        seeds=seeds[: node.NUM_SEEDS] if node.NUM_SEEDS else seeds,
    )
