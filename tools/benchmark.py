"""Benchmark this machine: model variants, cost of teachers, data loading, checkpoints.

    python tools/benchmark.py models|distill|data|engine [--device cpu|cuda] [--json FILE] [--quick]

`models` times a training and an evaluation step per family in float32 and bf16, contiguous and
channels_last_3d. On a GPU it also times the fastest variant compiled. Use it to choose PRECISION,
MEMORY_FORMAT and COMPILE. `distill` compares a student's step with and without teachers. `data`
reads generated videos with videokd, pytorchvideo and decord, counts decoded frames against the
minimum, and measures test views, workers, their memory, and the frame cache. `engine` measures the
trainer's overhead per step, the start-up of the tools, checkpoint writing against torch.save with
fsync, the time that a checkpoint blocks the training, and resuming after 10,000 steps against 10.

Alternatives run in turn. A value is a median with its 95 % interval. On a CPU one thread is used.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from benchmarks import (
    Figure,
    benchmark_data,
    benchmark_distill,
    benchmark_engine,
    benchmark_models,
    describe_winners,
    to_rows,
)
from benchmarks.figures import describe_hardware

from videokd.cli.common import path_argument, run_tool
from videokd.utils.env import pick_device
from videokd.utils.io import write_json

_NUM_ROUNDS = 15
_NUM_QUICK_ROUNDS = 6


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments, run a benchmark, print and write its figures."""
    args = parse_args(arguments)
    device = pick_device("cpu" if args.what in ("data", "engine") else args.device)
    torch.manual_seed(0)
    if device.type == "cpu":
        torch.set_num_threads(1)
    num_rounds = _NUM_QUICK_ROUNDS if args.quick else _NUM_ROUNDS
    hardware = describe_hardware(device)
    print(f"{args.what} on {hardware}, {num_rounds} rounds", flush=True)
    figures = measure(args.what, device, num_rounds, is_quick=args.quick)
    for figure in figures:
        print(format_figure(figure))
    for line in describe_winners(figures):
        print(line)
    if args.json is not None:
        write_json(args.json, to_rows(figures, hardware))
    return 0


def parse_args(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("models", "distill", "data", "engine"))
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:N")
    parser.add_argument(
        "--json", type=path_argument, metavar="FILE", help="write all figures to FILE"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, wider intervals")
    return parser.parse_args(arguments)


def measure(
    what: str, device: torch.device, num_rounds: int, *, is_quick: bool = False
) -> list[Figure]:
    """Run one of the benchmarks."""
    if what == "models":
        # Compilation pays off only on a GPU, and takes minutes on a CPU.
        has_compiled = device.type == "cuda"
        return benchmark_models(device, num_rounds=num_rounds, has_compiled=has_compiled)
    if what == "distill":
        return benchmark_distill(device, num_rounds=num_rounds)
    with tempfile.TemporaryDirectory() as folder:
        if what == "engine":
            return benchmark_engine(Path(folder), num_rounds=num_rounds)
        return benchmark_data(Path(folder), num_rounds=num_rounds, is_quick=is_quick)


def format_figure(figure: Figure) -> str:
    """Return one line: name, value, interval, unit and requirement."""
    line = f"{figure.name:<55} {figure.value:9.3f}"
    if figure.low < figure.high:
        line += f"  [{figure.low:.3f} .. {figure.high:.3f}]"
    line += f" {figure.unit}"
    if figure.must is None:
        return line
    is_met = figure.high <= figure.must if figure.better == "lower" else figure.low >= figure.must
    return f"{line} (must be {figure.must:g}: {'met' if is_met else 'NOT MET'})"


if __name__ == "__main__":
    run_tool(main)
