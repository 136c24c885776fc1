"""Between two lines of the log a training never waits for the device."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from videokd.engine.averaging import WeightAverage
from videokd.engine.metrics_log import read_metrics
from videokd.engine.optim import build_optimizer
from videokd.engine.train import Learner, TrainSettings, train
from videokd.engine.watch import Watch
from videokd.models.frozen import Frozen

SIZE = {"num_frames": 8, "crop_size": 32}
SETTINGS = TrainSettings(
    num_steps=7,
    base_lr=0.01,
    warmup_steps=1,
    clip_grad_norm=1.0,
    seed=0,
    log_period=4,
    eval_period=0,
    checkpoint_period_sec=1e9,
    num_checkpoints=2,
    max_bad_videos=0,
    dataset_names=("a", "b"),
)


class Reads(TorchDispatchMode):
    """Counts the tensors whose value was asked for: on a GPU each would wait for it."""

    def __init__(self):
        super().__init__()
        self.num_reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.num_reads += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Between:
    """A progress bar: calls ``after(step)`` for each step."""

    is_set = False

    def __init__(self, after):
        self.update = lambda step, text: after(step)


def _train(task, batch, folder, after, *, fused=None):
    optimizer = build_optimizer(task, name="sgd", base_lr=0.01, weight_decay=0.05)
    for group in optimizer.param_groups:
        group["fused"] = group["fused"] or fused
    bar = Between(after)
    watch = Watch(
        folder,
        "unit",
        device=batch.clips.device,
        frozen=[module for module in task.modules() if isinstance(module, Frozen)],
    )

    def loader(step):
        while True:
            yield batch

    with watch:
        train(
            Learner(task, optimizer, WeightAverage(task.model, decay=0.9)),
            loader,
            settings=SETTINGS,
            folder=folder,
            evaluate=dict,
            stop=bar,
            progress=bar,
            watch=watch,
        )


# On the CPU each step reads whether all is finite; with a fused optimizer, as on a GPU, none does.
@pytest.mark.parametrize(("fused", "num_reads"), [(None, 1), (True, 0)])
@pytest.mark.parametrize("stage", ["expert", "joint", "student"])
def test_only_lines_of_the_log_read_numbers(
    make_task, make_batch, tmp_path, stage, fused, num_reads
):
    task, batch = make_task(stage), make_batch((0, 1, 1, 0), **SIZE)
    reads, counts = Reads(), []
    with reads:
        _train(task, batch, tmp_path, lambda step: counts.append(reads.num_reads), fused=fused)
    per_step = [b - a for a, b in zip([0, *counts], counts, strict=False)]
    between = [n for step, n in enumerate(per_step, start=1) if step not in (4, 7)]
    assert between == [num_reads] * 5
    assert min(per_step[3], per_step[6]) > 5
    line = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert ("teacher_share" in line) == (stage != "expert")
    assert 0 < line.get("teacher_share", 0.5) < 1


@pytest.mark.gpu
@pytest.mark.parametrize("stage", ["expert", "joint", "student"])
def test_a_gpu_is_not_waited_for_between_lines_of_the_log(make_task, make_batch, tmp_path, stage):
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    device = torch.device("cuda")
    task = make_task(stage).to(device)
    batch = make_batch((0, 1, 1, 0), **SIZE).to(device)
    # The first step sets libraries up, the last ones write a line and a checkpoint.
    modes = {1: "error", 3: "default", 4: "error", 6: "default"}

    def after(step):
        if step in modes:
            torch.cuda.set_sync_debug_mode(modes[step])

    try:
        _train(task, batch, tmp_path, after)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    line = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert 0 < line.get("teacher_share", 0.5) < 1
    assert line["memory_mib"] > 1
