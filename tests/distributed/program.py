"""One rank of a small training: ``python program.py KIND FOLDER [FAULT RANK STEP]``.

KIND names what is trained. FAULT happens to rank RANK when STEP steps are done. Exit codes are
those of the tools; FOLDER gets the training's own files, and ``final.pt``.
"""

import ctypes
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from videokd.cli.common import run_tool  # noqa: E402
from videokd.data.augment import Augmentation  # noqa: E402
from videokd.data.batch import BadVideo, ClipBatch  # noqa: E402
from videokd.distill.objective import DistillObjective, DistillOptions  # noqa: E402
from videokd.distill.tasks import ClassificationTask, StudentTask  # noqa: E402
from videokd.engine.averaging import WeightAverage  # noqa: E402
from videokd.engine.distributed import explain_lost_ranks, join_ranks  # noqa: E402
from videokd.engine.optim import build_optimizer  # noqa: E402
from videokd.engine.stop import StopRequest  # noqa: E402
from videokd.engine.sync_norm import sync_batch_norms  # noqa: E402
from videokd.engine.train import Learner, TrainSettings, train  # noqa: E402
from videokd.models.classifier import VideoClassifier  # noqa: E402
from videokd.models.levels import Features  # noqa: E402

NUM_STEPS = 6
BATCH_SIZE = 8
TIMEOUT_SEC = float(os.environ.get("TIMEOUT_SEC", "60"))

SETTINGS = TrainSettings(
    num_steps=NUM_STEPS,
    base_lr=0.05,
    warmup_steps=2,
    clip_grad_norm=1.0,
    seed=5,
    log_period=2,
    num_checkpoints=2,
    eval_period=3,
    checkpoint_period_sec=0.0,
    max_bad_videos=9,
    max_skipped=1,
    dataset_names=("a", "b"),
)


# Added to what the network says, of one step each.
_spoiled: list[float] = []


class TinyNet(nn.Module):
    """Linear layers, where a training of many steps takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))

    def forward(self, clips):
        spoiled = _spoiled.pop() if _spoiled else 0.0
        (only,) = clips.values()
        return Features({}, self.net(only.mean(dim=(3, 4)).flatten(1)) + spoiled)

    def classify(self, embedding, dataset):
        return embedding[:, :3]


def make_model(kind: str) -> nn.Module:
    torch.manual_seed(1)
    if kind == "tiny":
        return TinyNet()
    from conftest import tiny_architecture

    arch = "r3d_18" if kind == "sync_bn" else "mvit_v2_s"
    backbone = tiny_architecture(arch).build_backbone()
    for module in backbone.modules():
        if hasattr(module, "p"):  # dropout and stochastic depth are drawn by each rank
            module.p = 0.0
    # A student has the classifier of its own dataset only.
    return VideoClassifier(backbone, {"a": 3} if kind == "student" else {"a": 3, "b": 3})


def make_task(kind: str) -> nn.Module:
    model = make_model(kind)
    if kind == "student":
        objective = DistillObjective(DistillOptions())
        teacher = make_model(kind)
        with torch.no_grad():
            for value in teacher.parameters():
                value.mul_(1.5)
        return StudentTask(model, teacher, dataset="a", objective=objective, trained_on=("a", "b"))
    task = ClassificationTask(model, {"a": 1.0, "b": 0.5})
    if kind == "sync_bn":
        sync_batch_norms(task)
    return task


def make_batch(
    kind: str, step: int, rank: int, num_ranks: int, *, clip_size: tuple[int, int] = (4, 32)
) -> ClipBatch:
    """Return a rank's part of a step's batch; every second batch lacks two clips of its start."""
    shape = (2, 1, 1) if kind == "tiny" else (clip_size[0], clip_size[1], clip_size[1])
    rng = torch.Generator().manual_seed(step)
    clips = torch.randint(256, (BATCH_SIZE, 3, *shape), dtype=torch.uint8, generator=rng)
    labels = torch.randint(3, (BATCH_SIZE,), generator=rng)
    dataset_ids = torch.randint(2, (BATCH_SIZE,), generator=rng)
    share = BATCH_SIZE // num_ranks
    positions = range(rank * share, (rank + 1) * share)
    lost = {0, 1} if step % 2 else set()
    kept = [position for position in positions if position not in lost]
    bad = tuple(BadVideo(0, p, f"{step}-{p}.avi", "gone") for p in positions if p in lost)
    augmentation = Augmentation(crop=(0, 0, 1, 1))
    return ClipBatch(
        {"clip": clips[kept]},
        labels[kept],
        dataset_ids[kept],
        torch.arange(BATCH_SIZE)[kept],
        (augmentation,) * len(kept),
        torch.zeros(len(kept), shape[0], dtype=torch.int64),
        bad,
    )


class Fault:
    """Strikes once; what it says to the loop is nothing."""

    def __init__(self, name: str, rank: int, step: int, *, my_rank: int) -> None:
        is_first_start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        self._name, self._step = name, step if rank == my_rank and is_first_start else -1

    def update(self, step: int, text: str) -> None:
        if step == self._step:
            _strike(self._name)


def _strike(name: str) -> None:
    if name == "raise":
        raise ZeroDivisionError("a defect")
    if name == "sleep":
        time.sleep(1e6)
    elif name == "hold_lock":
        ctypes.PyDLL(None).sleep(1_000_000)
    elif name == "exit":
        os._exit(3)
    elif name.startswith("nan"):
        _spoiled.extend([float("nan")] * int(name[3:]))
    elif name != "none":
        os.kill(os.getpid(), getattr(signal, name))


def main(arguments: list[str]) -> int:
    kind, folder = arguments[0], Path(arguments[1])
    name, fault_rank, fault_step = arguments[2:] if len(arguments) > 2 else ("none", "0", "0")
    torch.set_num_threads(1)
    if kind != "tiny":
        # In float32 a few steps of a network amplify rounding a hundredfold: in float64 what is
        # left of a difference is an error of ours.
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double
    with join_ranks(torch.device("cpu"), timeout_sec=TIMEOUT_SEC) as ranks, StopRequest() as stop:
        task = make_task(kind)
        optimizer = build_optimizer(task, name="sgd", base_lr=0.05, weight_decay=0.0)
        average = WeightAverage(task.model, decay=0.5)
        learner = Learner(task, optimizer, average, ranks=ranks)
        fault = Fault(name, int(fault_rank), int(fault_step), my_rank=ranks.rank)

        def batches(step: int):
            while True:
                yield make_batch(kind, step, ranks.rank, ranks.num_ranks)
                step += 1

        def evaluate() -> dict[str, float]:
            norms = [value.double().norm().item() for value in average.module.parameters()]
            return {"norm": sum(norms)}

        with explain_lost_ranks(ranks), ranks.watched():
            train(
                learner,
                batches,
                settings=replace(
                    SETTINGS, num_parts=2 if kind == "student" and ranks.num_ranks > 1 else 1
                ),
                folder=folder,
                evaluate=evaluate,
                stop=stop,
                progress=fault,
            )
        weights = task.state_dict()
        states = ranks.gather({k: v.sum().item() for k, v in weights.items()})
        assert all(state == states[0] for state in states), "the ranks' weights differ"
        if ranks.is_first:
            torch.save(weights, folder / "final.pt")
    return 0


if __name__ == "__main__":
    run_tool(main)
