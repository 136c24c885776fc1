"""Which precision and memory layout is fastest for each family: PRECISION and MEMORY_FORMAT."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product

import torch

from videokd.distill.tasks import ClassificationTask
from videokd.models.classifier import MEMORY_FORMATS
from videokd.pipeline.benchmarks.figures import Figure
from videokd.pipeline.benchmarks.timing import paired_ratios, time_interleaved
from videokd.pipeline.benchmarks.workloads import (
    CPU_CASES,
    CUDA_CASES,
    ModelCase,
    make_eval_step,
    make_train_step,
)

VARIANTS = tuple(product(("float32", "bf16"), MEMORY_FORMATS))
REFERENCE = "float32/contiguous"
_RATIO_UNIT = f"of {REFERENCE}"


def benchmark_models(
    device: torch.device, *, num_rounds: int, cases: Sequence[ModelCase] = ()
) -> list[Figure]:
    """Time a training step and an evaluation step of each family in four variants.

    float32 means what torch does by default: on a GPU, convolutions in TF32.

    Args:
        device: Where to run.
        num_rounds: Measurements of each.
        cases: Models; by default the demo's on a CPU, full-sized ones on a GPU.

    Returns:
        Two figures for each: ``.../ms`` and ``.../ratio`` to float32 contiguous, round by round.
    """
    figures = []
    for case in cases or (CPU_CASES if device.type == "cpu" else CUDA_CASES):
        for mode in ("train", "eval"):
            works = {
                f"{precision}/{memory_format}": _make_step(
                    case, mode, device, precision=precision, memory_format=memory_format
                )
                for precision, memory_format in VARIANTS
            }
            times = time_interleaved(works, device=device, num_rounds=num_rounds)
            for variant, samples in times.items():
                name = f"models/{case.arch}/{mode}/{variant}"
                ratios = paired_ratios(samples, times[REFERENCE])
                figures.append(Figure.of_samples(f"{name}/ms", samples, "ms"))
                figures.append(Figure.of_samples(f"{name}/ratio", ratios, _RATIO_UNIT))
    return figures


def describe_winners(figures: Iterable[Figure]) -> list[str]:
    """Return one line per family and mode: the fastest variant that beats the reference for sure.

    For sure: its whole interval lies below 1.
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
    case: ModelCase, mode: str, device: torch.device, *, precision: str, memory_format: str
) -> Callable[[], None]:
    model = case.build(precision, memory_format).to(device)
    batch = case.random_batch(device)
    if mode == "eval":
        return make_eval_step(model, batch)
    return make_train_step(ClassificationTask(model, {"a": 1.0}).to(device), batch)
