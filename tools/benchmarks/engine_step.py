"""Overhead of the training loop: the trainer's step against a handwritten loop."""

import time
from collections.abc import Callable, Sequence
from itertools import repeat
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.figures import Figure, paired_ratios
from benchmarks.workloads import CPU_CASES, ModelCase
from videokd.data.batch import ClipBatch
from videokd.distill.tasks import ClassificationTask, to_float
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import StopRequest
from videokd.engine.train import Learner, TrainSettings, train
from videokd.models.classifier import VideoClassifier

# Steps of the trainer and of the handwritten loop per round; the trainer logs once per round.
_NUM_STEPS = 10
_NUM_WARMUP_ROUNDS = 1
_MUST, _GOAL = 1.05, 1.02
# A tiny network, so that the trainer's overhead stands out.
_TINY = ModelCase("r3d_18", 2, 16, 2, width_factor=0.125, depth_factor=0.5)
_BASE_LR = 1e-3


def benchmark_step(
    folder: Path, *, num_rounds: int, cases: Sequence[ModelCase] = ()
) -> list[Figure]:
    """Time the trainer's step against that of a handwritten loop, on the CPU.

    Both use the same network with the same weights, the same batch in memory and the same
    optimizer. The handwritten loop converts bytes to floats and does network, cross-entropy,
    backward and optimizer step; it reads the loss every ten steps. The trainer also checks every
    loss, counts terms and hits, seeds its step, and writes a log line every ten steps. Neither side
    loads, evaluates or writes checkpoints. Times are CPU times of the process with all its threads.

    The difference is measured with a tiny network, where noise is small.

    Args:
        folder: Folder of the trainer's log and last checkpoint.
        num_rounds: Measurements of each.
        cases: Models; by default the first expert of the demo.
    """
    ours, by_hand = _time_both(_TINY, folder / "tiny", num_rounds)
    added = [1e3 * (a - b) / _NUM_STEPS for a, b in zip(ours, by_hand, strict=True)]
    figures = [Figure.of_samples("engine/step/added/ms", added, "ms")]
    for case in cases or CPU_CASES[:1]:
        ours, by_hand = _time_both(case, folder / case.arch, num_rounds)
        name = f"engine/step/{case.arch}"
        figures.append(Figure.of_samples(f"{name}/ms", [1e3 * t / _NUM_STEPS for t in ours], "ms"))
        ratios = paired_ratios(ours, by_hand)
        unit = "of a loop by hand"
        figures.append(Figure.of_samples(f"{name}/ratio", ratios, unit, must=_MUST, goal=_GOAL))
    return figures


def _time_both(case: ModelCase, folder: Path, num_rounds: int) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of each round: trainer, handwritten loop."""
    model = _build(case)
    batch = case.random_batch(torch.device("cpu"))
    task = ClassificationTask(model, {"a": 1.0})
    num_steps = _NUM_STEPS * (num_rounds + _NUM_WARMUP_ROUNDS)
    in_turn = _InTurn(_make_step(_build(case), batch, num_steps))
    settings = TrainSettings(
        num_steps=num_steps + 1,  # the last step ends with a checkpoint
        base_lr=_BASE_LR,
        warmup_steps=0.0,
        clip_grad_norm=0.0,
        seed=0,
        log_period=_NUM_STEPS,
        eval_period=0,
        checkpoint_period_sec=1e9,
        num_checkpoints=2,
        max_bad_videos=0,
        dataset_names=("a",),
    )
    with StopRequest() as stop:
        train(
            Learner(task, _make_optimizer(task)),
            lambda _: repeat(batch),
            settings=settings,
            folder=folder,
            evaluate=dict,
            stop=stop,
            progress=in_turn,
        )
    return in_turn.ours[_NUM_WARMUP_ROUNDS:], in_turn.by_hand[_NUM_WARMUP_ROUNDS:]


class _InTurn:
    """Progress bar that does one step of the handwritten loop after each step of the trainer.

    Args:
        step_by_hand: Function that does one step; its argument is the number of finished steps.
    """

    def __init__(self, step_by_hand: Callable[[int], None]) -> None:
        self.ours: list[float] = []
        self.by_hand: list[float] = []
        self._step_by_hand = step_by_hand
        self._sums = [0.0, 0.0]
        self._start = time.process_time()

    def update(self, step: int, text: str) -> None:
        """Record the time of the trainer's step, and do and time one step by hand."""
        end = time.process_time()
        self._sums[0] += end - self._start
        self._step_by_hand(step)
        self._start = time.process_time()
        self._sums[1] += self._start - end
        if step % _NUM_STEPS == 0:
            self.ours.append(self._sums[0])
            self.by_hand.append(self._sums[1])
            self._sums = [0.0, 0.0]


def _build(case: ModelCase) -> VideoClassifier:
    torch.manual_seed(0)
    return case.build("float32", "contiguous")


def _make_optimizer(module: nn.Module) -> torch.optim.Optimizer:
    return build_optimizer(module, name="adamw", base_lr=_BASE_LR, weight_decay=0.05)


def _make_step(model: VideoClassifier, batch: ClipBatch, num_steps: int) -> Callable[[int], None]:
    optimizer = _make_optimizer(model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=num_steps)
    model.train()

    def do_step(step: int) -> None:
        embedding = model(to_float(batch.clips)).embedding
        loss = F.cross_entropy(model.classify(embedding, "a"), batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % _NUM_STEPS == 0:
            loss.item()

    return do_step
