"""Benchmark of each model family: the fastest PRECISION, MEMORY_FORMAT and COMPILE."""

import logging
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

import torch

from benchmarks.figures import Figure, paired_ratios, time_interleaved
from benchmarks.workloads import (
    ModelCase,
    cases_of_families,
    make_eval_step,
    make_train_step,
)
from videokd.distill.tasks import ClassificationTask
from videokd.models.classifier import MEMORY_FORMATS
from videokd.utils.errors import InputError

logger = logging.getLogger(__name__)

VARIANTS = tuple(map("/".join, product(("float32", "bf16"), MEMORY_FORMATS)))
COMPILED = "compile"
REFERENCE = "float32/contiguous"
_RATIO_UNIT = f"of {REFERENCE}"


def benchmark_models(
    device: torch.device,
    *,
    num_rounds: int,
    cases: Sequence[ModelCase] = (),
    has_compiled: bool = False,
) -> list[Figure]:
    """Time a training step and an evaluation step of each family in four variants.

    float32 is torch's default, which uses TF32 in convolutions on a GPU. A family whose library is
    not installed is skipped with a warning.

    Args:
        device: Device of the measurement.
        num_rounds: Measurements of each.
        cases: Models; by default one of every family, small on a CPU and full-sized on a GPU.
        has_compiled: Whether to time the fastest variant compiled too, a minute each.

    Returns:
        Two figures for each: ``.../ms``, and ``.../ratio`` to float32 contiguous, round by round.
    """
    figures = []
    for case, mode in product(cases or cases_of_families(device), ("train", "eval")):
        try:
            times = _time(case, mode, VARIANTS, device=device, num_rounds=num_rounds)
        except InputError as error:
            logger.warning("%s is left out: %s", case.arch, error)
            continue
        figures += _to_figures(case, mode, times, times[REFERENCE])
        if has_compiled:
            fastest = min(times, key=lambda variant: statistics.median(times[variant]))
            compiled = f"{fastest}/{COMPILED}"
            # Measured separately: each variant holds a model, and the reference must run close in
            # time.
            again = _time(case, mode, (REFERENCE, compiled), device=device, num_rounds=num_rounds)
            figures += _to_figures(case, mode, {compiled: again[compiled]}, again[REFERENCE])
    return figures


def _time(
    case: ModelCase, mode: str, variants: Sequence[str], *, device: torch.device, num_rounds: int
) -> dict[str, list[float]]:
    works = {variant: _make_step(case, mode, variant, device) for variant in variants}
    return time_interleaved(works, device=device, num_rounds=num_rounds)


def _to_figures(
    case: ModelCase, mode: str, times: Mapping[str, list[float]], reference: list[float]
) -> list[Figure]:
    figures = []
    for variant, samples in times.items():
        name = f"models/{case.arch}/{mode}/{variant}"
        ratios = paired_ratios(samples, reference)
        figures.append(Figure.of_samples(f"{name}/ms", samples, "ms"))
        figures.append(Figure.of_samples(f"{name}/ratio", ratios, _RATIO_UNIT))
    return figures


def describe_winners(figures: Iterable[Figure]) -> list[str]:
    """Return one line per family and mode: the fastest variant with a clear gain.

    A gain is clear if the whole interval of the ratio to the reference lies below 1.
    """
    best: dict[str, Figure | None] = {}
    for figure in figures:
        if figure.unit != _RATIO_UNIT:
            continue
        _, arch, mode, _ = figure.name.split("/", 3)
        known = best.setdefault(f"{arch} {mode}", None)
        if figure.high < 1 and (known is None or figure.value < known.value):
            best[f"{arch} {mode}"] = figure
    return [f"fastest for {what}: {_describe(figure)}" for what, figure in best.items()]


def _describe(figure: Figure | None) -> str:
    if figure is None:
        return f"{REFERENCE}, or no difference"
    variant = figure.name.split("/", 3)[3].removesuffix("/ratio")
    return f"{variant} ({figure.value:.2f} of {REFERENCE})"


def _make_step(
    case: ModelCase, mode: str, variant: str, device: torch.device
) -> Callable[[], None]:
    precision, memory_format, *rest = variant.split("/")
    model = case.build(precision, memory_format, is_compiled=COMPILED in rest).to(device)
    batch = case.random_batch(device)
    if mode == "eval":
        return make_eval_step(model, batch)
    return make_train_step(ClassificationTask(model, {"a": 1.0}).to(device), batch)
