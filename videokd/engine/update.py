"""Steps of a training: accumulation, precision, clipping, and skipping of non-finite steps."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from videokd.data.batch import ClipBatch
from videokd.engine.averaging import WeightAverage
from videokd.engine.buffers import BufferSnapshot, Norms, stack_norms
from videokd.engine.distributed import ONE_RANK, Ranks
from videokd.engine.guard import SkipGuard, StepRecord
from videokd.engine.meters import Meters
from videokd.engine.task import StepOutput


@dataclass(frozen=True)
class Learner:
    """Task, optimizer and other objects that a training changes and a checkpoint holds."""

    task: nn.Module
    """(batch, progress) -> StepOutput, see ``videokd.engine.task``; on its device already."""
    optimizer: torch.optim.Optimizer
    """Optimizer of the task's trainable parameters."""
    average: WeightAverage | None = None
    """Average of the task's model, if wanted; ``average.module`` is then the result."""
    scaler: torch.amp.GradScaler | None = None
    """Loss scaler of a task that is trained in float16."""
    ranks: Ranks = ONE_RANK
    """Ranks that train the task together."""

    def wrap_task(self) -> Callable[[ClipBatch, float], StepOutput]:
        """Return the task wrapped in DDP, whose gradients are means over the ranks.

        All ranks must call it together, once; with one rank it is the task itself.
        """
        return self.ranks.wrap(self.task)


class Update:
    """Steps of a training, each from a batch to changed weights.

    A step whose loss, gradient or norm statistics are not finite, on any rank, changes no
    parameter, momentum, average or statistic, and is left out of the meters. On the CPU the host
    decides at once. On a GPU, reading the flag would wait for the device at every step. There the
    device decides (which needs a ``fused`` optimizer), and ``read_flags`` reads the flags.

    Args:
        learner: Task, optimizer and ranks of the training.
        meters: Meters that get the output of every part of a step.
        clip_grad_norm: Largest L2 norm of the gradient; 0 = no clipping.
        num_parts: Number of parts (micro-batches) into which a step is split. The gradient is that
            of the whole batch, except for batch norm, mixing and losses of relations, which see one
            part only.
        max_skipped: Steps in a row that may be skipped; 0 ends the training at the first.
    """

    def __init__(
        self,
        learner: Learner,
        meters: Meters,
        *,
        clip_grad_norm: float,
        num_parts: int = 1,
        max_skipped: int = 0,
    ) -> None:
        self._learner = learner
        self._task = learner.wrap_task()
        self._meters = meters
        self._clip_grad_norm = clip_grad_norm
        self._num_parts = num_parts
        self._parameters = [(n, p) for n, p in learner.task.named_parameters() if p.requires_grad]
        self._buffers = BufferSnapshot(learner.task)
        self.guard = SkipGuard(max_skipped, learner.ranks)
        self._unread: list[tuple[StepRecord, Tensor]] = []

    @property
    def _device_decides(self) -> bool:
        # Read at each step, because loading a checkpoint also loads the optimizer's options.
        return all(group.get("fused") for group in self._learner.optimizer.param_groups)

    def __call__(self, batch: ClipBatch, progress: float, *, step: int, lr: float) -> None:
        """Do one step.

        Args:
            batch: At least two clips, on the task's device; with several ranks, this rank's part.
            progress: Share of the training that is done.
            step: Number of steps done before.
            lr: Learning rate, for messages.

        Raises:
            RunError: Too many steps in a row are not finite; on a GPU, ``read_flags`` raises it.
        """
        self._buffers.take()
        self._learner.optimizer.zero_grad(set_to_none=True)
        parts = batch.split(self._count_parts(batch))
        last = parts[-1]
        outputs = [self._add_gradient(part, progress, is_last=part is last) for part in parts]
        # Examined before statistics are averaged: averaging spreads non-finite values to all ranks.
        record = self._examine(parts, outputs, step=step, lr=lr)
        self._learner.ranks.average_statistics(self._learner.task)
        agreed = self._learner.ranks.agree(record.is_good)
        unread = agreed if self._device_decides else None
        is_good = unread is not None or bool(agreed)  # waits for the device
        if unread is not None:
            self._unread.append((record, unread))
            self._change_where(unread, record.total_norm)
        elif is_good:
            self._change(record.total_norm)
        else:
            self._buffers.restore()
            self._learner.optimizer.zero_grad(set_to_none=True)
        if self._learner.scaler is not None:
            self._learner.scaler.update()
        if unread is None:
            self.guard.count(record, is_good)
        if not is_good:
            return
        for part, output in zip(parts, outputs, strict=True):
            self._meters.add(output, len(part), unread)
        self._meters.add_norm(record.total_norm, unread)

    def read_flags(self) -> None:
        """Read the flags of the steps since the last call, which the device decided.

        Call it at log points and before a save.

        Raises:
            RunError: Too many steps in a row are not finite.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        for (record, _), is_good in zip(
            unread, torch.stack([flag for _, flag in unread]).tolist(), strict=True
        ):
            self.guard.count(record, is_good)

    def state(self) -> dict[str, Any]:
        """Return the values for a checkpoint, as plain JSON values."""
        scaler = self._learner.scaler
        return {**self.guard.state(), **({} if scaler is None else {"scaler": scaler.state_dict()})}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Load the values of an earlier ``state()``."""
        self.guard.load_state(state)
        if self._learner.scaler is not None and "scaler" in state:
            self._learner.scaler.load_state_dict(state["scaler"])

    def _count_parts(self, batch: ClipBatch) -> int:
        if self._num_parts == 1:
            return 1
        # All ranks need the same number of parts, because networks may communicate in each forward.
        return self._learner.ranks.lowest(min(self._num_parts, len(batch) // 2))

    def _add_gradient(self, part: ClipBatch, progress: float, *, is_last: bool) -> StepOutput:
        ranks, scaler = self._learner.ranks, self._learner.scaler
        # Gradients are reduced over the ranks once, with the last part.
        with nullcontext() if is_last else ranks.unshared(self._task):
            output = self._task(part, progress)
            # Only here the parts of a step are weighted: each by its share of the clips of all
            # ranks. ``num_ranks`` undoes the mean of the gradients over the ranks.
            is_whole = part.whole_ids is None
            loss = output.loss if is_whole else output.loss * (part.share * ranks.num_ranks)
            (loss if scaler is None else scaler.scale(loss)).backward()
        return output

    def _examine(
        self, parts: list[ClipBatch], outputs: list[StepOutput], *, step: int, lr: float
    ) -> StepRecord:
        losses = torch.stack([output.loss.detach() for output in outputs])
        scaler, scale = self._learner.scaler, None
        if scaler is not None:
            scale = scaler.scale(torch.ones((), device=losses.device))
            scaler.unscale_(self._learner.optimizer)
        gradients = {n: p.grad for n, p in self._parameters if p.grad is not None}
        norms = stack_norms(list(gradients.values()), device=losses.device)
        return StepRecord(
            step=step,
            lr=lr,
            dataset_ids=[part.dataset_ids for part in parts],
            record_ids=[part.record_ids for part in parts],
            terms=[output.terms for output in outputs],
            losses=losses,
            total_norm=torch.linalg.vector_norm(norms),
            gradients=Norms(list(gradients), norms),
            statistics=self._buffers.norms(),
            scale=scale,
        )

    def _clip(self, total_norm: Tensor) -> None:
        if self._clip_grad_norm > 0:
            parameters = [parameter for _, parameter in self._parameters]
            nn.utils.clip_grads_with_norm_(parameters, self._clip_grad_norm, total_norm)

    def _change(self, total_norm: Tensor) -> None:
        self._clip(total_norm)
        self._learner.optimizer.step()
        if self._learner.average is not None:
            self._learner.average.update()

    def _change_where(self, is_good: Tensor, total_norm: Tensor) -> None:
        self._clip(total_norm)
        optimizer: Any = self._learner.optimizer
        _fill_momenta(optimizer)
        # torch's GradScaler uses these attributes to make a fused optimizer skip a step.
        optimizer.grad_scale, optimizer.found_inf = None, (~is_good).float()
        optimizer.step()
        del optimizer.grad_scale, optimizer.found_inf
        self._buffers.restore_unless(is_good)
        if self._learner.average is not None:
            self._learner.average.update(is_good)


def _fill_momenta(optimizer: torch.optim.Optimizer) -> None:
    """Create SGD's momenta as zeros: torch leaves them uninitialised if it skips a first step."""
    for group in optimizer.param_groups:
        if group.get("momentum", 0) == 0:
            continue
        for parameter in group["params"]:
            if parameter.grad is not None and not optimizer.state[parameter]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
