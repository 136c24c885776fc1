"""One step of a training on generated clips: what it costs, and whether it runs at all."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    conv_flop_count,
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from videokd.data.augment import ViewParams
from videokd.data.batch import ClipBatch, ClipSample, collate
from videokd.data.cutting import ClipSpec
from videokd.models.classifier import VideoClassifier
from videokd.models.frozen import Frozen
from videokd.pipeline.unit import Unit

# Two: a batch of one has no batch statistics where a level has one position.
NUM_CLIPS = 2
# Beside a weight: its gradient, and what the optimizer keeps of it.
_NUM_STATES = {"sgd": 1, "adamw": 2}


@dataclass(frozen=True)
class StepCost:
    """What a step of a training costs.

    Args:
        seconds: Of the step on the generated clips; the first one, so more than of later ones.
        num_clips: How many these were.
        trained_bytes: Weights that are trained, their gradients and what the optimizer keeps.
        frozen_bytes: Weights that are only looked at.
        cast_bytes: Copies of weights in the precision of the step, kept for the backward.
        kept_bytes_per_clip: What the forward keeps of a clip for the backward.
        flops: Of the step, counted by torch: 2 per multiply-add, matrix products and convolutions.
        frozen_flops: Of these, what networks cost that are only looked at.
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
        """Share of the step that networks take that are only looked at, 0 .. 1."""
        return self.frozen_flops / max(self.flops, 1)

    def memory_bytes(self, batch_size: int) -> float:
        """Estimate the memory of a step with so many clips, without what libraries keep."""
        return self._weight_bytes + batch_size * self.kept_bytes_per_clip

    def largest_batch(self, memory_bytes: float) -> int:
        """Estimate how many clips fit into a memory; 0 where not even the weights do."""
        return max(0, int((memory_bytes - self._weight_bytes) / max(self.kept_bytes_per_clip, 1)))

    @property
    def _weight_bytes(self) -> int:
        return self.trained_bytes + self.frozen_bytes + self.cast_bytes


def rehearse(
    unit: Unit, *, num_classes: Mapping[str, int], device: torch.device, optimizer: str
) -> StepCost:
    """Do the forward and the backward of one step on random clips; nothing is changed by it.

    Args:
        unit: The training.
        num_classes: Dataset name -> number of its classes.
        device: Where to compute.
        optimizer: "sgd" or "adamw", for the memory that it takes.

    Raises:
        RuntimeError: A network does not take the clips, or the device has not enough memory.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = unit.make_task(unit.make_model()).to(device).train()
        batch = make_batch(unit, num_classes).to(device)
        for module in task.modules():
            if isinstance(module, VideoClassifier):
                module.guard(batch.all_clips)  # which is no part of a step
        counter, kept = _FlopCounter(), _KeptBytes(task)
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
    # What is frozen is hidden from ``parameters()``, see ``Frozen``.
    every = _all_tensors(task)
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


def make_batch(unit: Unit, num_classes: Mapping[str, int]) -> ClipBatch:
    """Generate the clips of a step, one dataset after the other: (NUM_CLIPS, 3, T, H, W) uint8.

    Every shape that the models of the unit take is there; the labels are random.

    Args:
        unit: The training.
        num_classes: Dataset name -> number of its classes.
    """
    clips = unit.task_clips or unit.clips
    samples = []
    for number in range(NUM_CLIPS):
        dataset_id = number % len(unit.trained_on)
        classes = num_classes[unit.trained_on[dataset_id]]
        box = (0, 0, clips.main.crop_size, clips.main.crop_size)
        samples.append(
            ClipSample(
                clip=_random_clip(clips.main),
                label=int(torch.randint(classes, ())),
                dataset_id=dataset_id,
                record_id=number,
                view=ViewParams(box),
                frame_indices=torch.arange(clips.main.num_frames),
                view_number=0,
                clip_name=clips.main.name,
                other_clips={spec.name: _random_clip(spec) for spec in clips.others},
                plain_clips={spec.name: _random_clip(spec) for spec in clips.plain},
            )
        )
    return collate(samples)


def _random_clip(spec: ClipSpec) -> Tensor:
    size = (3, spec.num_frames, spec.crop_size, spec.crop_size)
    return torch.randint(256, size, dtype=torch.uint8)


class _FlopCounter(TorchDispatchMode):
    """Counts the operations of a step, and those of the forward that keep nothing for a backward.

    torch's FlopCounterMode tells modules apart by their place in a tree that frozen networks are
    not part of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.frozen = 0
        self.is_forward = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        flops = _count_flops(func._overloadpacket, args, kwargs, result)
        if flops:
            self.total += flops
            if self.is_forward and not torch.is_grad_enabled():
                self.frozen += flops
        return result


def _count_flops(op: Any, args: tuple[Any, ...], kwargs: Any, result: Any) -> int:
    # The attention of a CPU is not in torch's table.
    if op is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
        return int(sdpa_flop_count(*(tensor.shape for tensor in args[:3])))
    if op is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return int(sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4])))
    if op is torch.ops.aten.convolution_backward:
        # torch's table takes the backward of grouped convolutions for that of whole ones. Each of
        # the two gradients costs what the forward does.
        forward = conv_flop_count(args[1].shape, args[2].shape, args[0].shape, args[7])
        return int(forward) * sum(args[10][:2])
    count = flop_registry.get(op)
    return 0 if count is None else int(count(*args, **kwargs, out_val=result))


class _KeptBytes:
    """Counts the bytes that a forward keeps for the backward, weights and buffers left out."""

    def __init__(self, task: nn.Module) -> None:
        every = _all_tensors(task)
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in every}
        # Under autocast the backward needs weights as they were cast, whatever the batch.
        self._weight_shapes = {tuple(tensor.shape) for tensor in every if tensor.ndim > 1}
        # Kept alive, so that no address comes twice.
        self._storages: list[Any] = []
        self.num_bytes = 0
        self.num_cast_bytes = 0

    @contextmanager
    def watch(self) -> Iterator[None]:
        with torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor):
            yield
        self._storages.clear()

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._storages.append(storage)
            shape = tuple(tensor.shape)
            if shape in self._weight_shapes or shape[::-1] in self._weight_shapes:
                self.num_cast_bytes += storage.nbytes()
            else:
                self.num_bytes += storage.nbytes()
        return tensor


def _all_tensors(module: nn.Module) -> list[Tensor]:
    """List parameters and buffers, each once, also of the frozen networks, which are hidden."""
    found = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    for part in module.modules():
        if isinstance(part, Frozen):
            found |= {id(tensor): tensor for tensor in _all_tensors(part.module)}
    return list(found.values())
