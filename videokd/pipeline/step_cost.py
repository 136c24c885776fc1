"""Cost of a training step, measured on generated clips; advice when memory is too small."""

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from fvcore.common.config import CfgNode
from rich.console import Console
from rich.table import Table
from torch import Tensor

from videokd.data.augment import Augmentation
from videokd.data.batch import ClipBatch, ClipSample, collate
from videokd.data.clip_spec import ClipSpec
from videokd.pipeline.step_counters import FlopCounter, KeptBytes, all_tensors
from videokd.pipeline.training import Training
from videokd.utils.env import device_memory_bytes
from videokd.utils.errors import RunError

GIB = 2**30

# Two clips: with one, a level with a single position would have no batch statistics.
NUM_CLIPS = 2
# Number of optimizer states per weight.
_NUM_STATES = {"sgd": 1, "adamw": 2}


@dataclass(frozen=True)
class StepCost:
    """Cost of one training step.

    Args:
        seconds: Time of the first step on the generated clips; later steps are faster.
        num_clips: Number of generated clips.
        trained_bytes: Trained weights, their gradients and their optimizer states.
        frozen_bytes: Weights of frozen networks, and buffers.
        cast_bytes: Copies of weights in the precision of the step, kept for the backward.
        kept_bytes_per_clip: Memory that the forward keeps for the backward, per clip.
        flops: Operations of the step as counted by torch, 2 per multiply-add, of matrix products
            and convolutions.
        frozen_flops: Operations of frozen networks, included in ``flops``.
    """

    seconds: float
    num_clips: int
    trained_bytes: int
    frozen_bytes: int
    cast_bytes: int
    kept_bytes_per_clip: float
    flops: int
    frozen_flops: int

    @property
    def frozen_share(self) -> float:
        """Share of the step's operations that frozen networks take, from 0 to 1."""
        return self.frozen_flops / max(self.flops, 1)

    def memory_bytes(self, batch_size: int) -> float:
        """Estimate the memory of a step of ``batch_size`` clips, without that of libraries."""
        return self._weight_bytes + batch_size * self.kept_bytes_per_clip

    def largest_batch(self, memory_bytes: float) -> int:
        """Estimate the number of clips that fit into a memory; 0 if not even the weights fit."""
        return max(0, int((memory_bytes - self._weight_bytes) / max(self.kept_bytes_per_clip, 1)))

    @property
    def _weight_bytes(self) -> int:
        return self.trained_bytes + self.frozen_bytes + self.cast_bytes


def measure_step(
    training: Training, *, num_classes: Mapping[str, int], device: torch.device, optimizer: str
) -> StepCost:
    """Run forward and backward of one step on random clips; nothing is updated.

    Args:
        training: The training.
        num_classes: Dataset name -> number of its classes.
        device: Device of the step.
        optimizer: "sgd" or "adamw", for its memory.

    Raises:
        RuntimeError: A network does not accept the clips, or the device is out of memory.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = training.build_task(training.build_model()).to(device).train()
        batch = make_batch(training, num_classes).to(device)
        counter, kept = FlopCounter(), KeptBytes(task)
        start = time.perf_counter()
        with counter:
            with kept.watch():
                loss = task(batch, 0.0).loss
            counter.is_forward = False
            loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    trained = [p for p in task.parameters() if p.requires_grad]
    # ``parameters()`` does not list frozen weights, see ``Frozen``.
    every = all_tensors(task)
    num_trained = sum(p.numel() * p.element_size() for p in trained)
    return StepCost(
        seconds=seconds,
        num_clips=len(batch),
        trained_bytes=num_trained * (2 + _NUM_STATES[optimizer]),
        frozen_bytes=sum(t.numel() * t.element_size() for t in every) - num_trained,
        cast_bytes=kept.num_cast_bytes,
        kept_bytes_per_clip=kept.num_bytes / len(batch),
        flops=counter.total,
        frozen_flops=counter.frozen,
    )


def make_batch(training: Training, num_classes: Mapping[str, int]) -> ClipBatch:
    """Generate the clips of a step: (NUM_CLIPS, 3, T, H, W) uint8, datasets in turn.

    The batch has every clip spec that the models of the training use; the labels are random.

    Args:
        training: The training.
        num_classes: Dataset name -> number of its classes.
    """
    clips = training.task_clips or training.clips
    samples = []
    for number in range(NUM_CLIPS):
        dataset_id = number % len(training.trained_on)
        classes = num_classes[training.trained_on[dataset_id]]
        box = (0, 0, clips.main.crop_size, clips.main.crop_size)
        samples.append(
            ClipSample(
                clips={s.name: _random_clip(s) for s in (clips.main, *clips.others)},
                label=int(torch.randint(classes, ())),
                dataset_id=dataset_id,
                record_id=number,
                augmentation=Augmentation(box),
                frame_indices=torch.arange(clips.main.num_frames),
                view_number=0,
                plain_clips={s.name: _random_clip(s) for s in clips.plain},
            )
        )
    return collate(samples)


def count_clips_at_once(cfg: CfgNode) -> int:
    """Return the number of clips in one forward: see TRAIN.ACCUMULATE."""
    return int(-(-cfg.TRAIN.BATCH_SIZE // cfg.TRAIN.ACCUMULATE))


def advise(num_clips: int) -> str:
    """Return advice for a step that fits ``num_clips`` clips; 0 if the weights alone do not fit."""
    smaller = "or the size of their clips; PRECISION bf16 and CHECKPOINT_ACTIVATIONS help, too"
    if num_clips < 2:
        return f"lower the size of the networks, {smaller}"
    return (
        f"lower TRAIN.BATCH_SIZE to {num_clips} or less, or raise TRAIN.ACCUMULATE until no more "
        f"than {num_clips} clips are taken at once, {smaller}"
    )


def explain_out_of_memory(
    training: Training,
    cfg: CfgNode,
    console: Console,
    *,
    device: torch.device,
    classes: Mapping[str, int],
) -> RunError:
    """Return the error of a training that ran out of memory, and print its memory breakdown.

    Call this after the training's tensors are freed: it runs a small step to measure the memory per
    clip.

    Args:
        training: The training.
        cfg: The whole config.
        console: Console of the table.
        device: Device of the training.
        classes: Dataset name -> number of its classes.
    """
    num_clips, memory = count_clips_at_once(cfg), device_memory_bytes(device)
    title = (
        f"{training.folder}: {device} is out of memory ({memory / GIB:.1f} GiB) "
        f"with {num_clips} clips"
    )
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        cost = measure_step(
            training, num_classes=classes, device=device, optimizer=cfg.SOLVER.OPTIMIZER
        )
    except RuntimeError:  # even the small step fails: another process may hold the memory
        return RunError(f"{title}, and so it is with two: {advise(0)}")
    console.print(_memory_table(cost, num_clips, f"Memory of a step of {training.folder}"))
    # The step did not fit, even if the estimate claims that it does.
    fitting = min(cost.largest_batch(memory), num_clips - 1)
    return RunError(f"{title}: {advise(fitting)}")


def _memory_table(cost: StepCost, num_clips: int, title: str) -> Table:
    rows = {
        "trained weights, gradients, optimizer states": cost.trained_bytes,
        "frozen weights and buffers": cost.frozen_bytes,
        "weights cast to the precision of the step": cost.cast_bytes,
        f"activations of {num_clips} clips": num_clips * cost.kept_bytes_per_clip,
        "total, without memory of libraries": cost.memory_bytes(num_clips),
    }
    table = Table(title=title)
    table.add_column("memory")
    table.add_column("GiB", justify="right")
    for name, num_bytes in rows.items():
        table.add_row(name, f"{num_bytes / GIB:.2f}")
    return table


def _random_clip(spec: ClipSpec) -> Tensor:
    size = (3, spec.num_frames, spec.crop_size, spec.crop_size)
    return torch.randint(256, size, dtype=torch.uint8)
