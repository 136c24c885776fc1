"""Between two lines of the log a training never waits for the device."""

import sys
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from videokd.engine import sync_norm
from videokd.engine.averaging import WeightAverage
from videokd.engine.metrics_log import read_metrics
from videokd.engine.optim import build_optimizer
from videokd.engine.train import Learner, TrainSettings, train
from videokd.engine.watch import Watch
from videokd.fusion import standardise
from videokd.models.frozen import Frozen
from videokd.utils import ranks

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


aten = torch.ops.aten
# A GPU's host waits for each of these: it needs a value, or the number of results.
WAITING = {
    *(aten._local_scalar_dense.default, aten.equal.default, aten.allclose.default),
    *(aten.nonzero.default, aten.nonzero_numpy.default, aten.masked_select.default),
    *(aten._unique.default, aten._unique2.default, aten.unique_consecutive.default),
    *(aten.unique_dim.default, aten.bincount.default, aten.repeat_interleave.Tensor),
    aten._linalg_check_errors.default,
    # Numbers of Python's made a tensor: as a copy to the device they are waited for.
    aten.lift_fresh.default,
}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
TO_HOST = {torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__}


def _has_mask(func, args):
    """Return whether ``args`` index by booleans, whose true ones have to be counted."""
    places = args[1] if func in INDEXING else ()
    return any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in places)


def _is_blocking_copy(args, options):
    """Return whether the arguments of ``Tensor.to`` name a device and let the host wait."""
    named = [*args[1:], *options.values()]
    return not options.get("non_blocking") and any(
        isinstance(value, (str, torch.device)) for value in named
    )


class ReadsByName(TorchFunctionMode):
    """Counts the copies that a CPU does not make: its tensors are where they are wanted."""

    def __init__(self, reads):
        super().__init__()
        self.reads = reads

    def __torch_function__(self, func, types, args=(), kwargs=None):
        options = kwargs or {}
        # torch itself names a device to tensors that are there already, and nothing is copied.
        is_torch = sys._getframe(1).f_globals["__name__"].startswith("torch.")
        is_copy = func is torch.Tensor.to and not is_torch and _is_blocking_copy(args, options)
        self.reads.num_reads += func in TO_HOST or is_copy
        return func(*args, **options)


class Reads(TorchDispatchMode):
    """Counts what the host of a GPU would wait for, on a CPU, which waits for nothing."""

    def __init__(self):
        super().__init__()
        self.num_reads = 0
        self.by_name = ReadsByName(self)

    def __enter__(self):
        self.by_name.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.by_name.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.num_reads += func in WAITING or _has_mask(func, args)
        return func(*args, **(kwargs or {}))


VALUES = torch.arange(6.0)
MASK = VALUES > 2


@pytest.mark.parametrize(
    ("read", "num_reads"),
    [
        (lambda: VALUES[0].item(), 1),
        (lambda: float(VALUES[0]), 1),
        (lambda: bool(MASK.any()), 1),
        (lambda: VALUES.tolist(), 1),
        (lambda: VALUES.numpy(), 1),
        (lambda: VALUES.cpu(), 1),
        (lambda: VALUES.to("cpu"), 1),
        (lambda: VALUES.to(device=torch.device("cpu"), dtype=torch.float64), 1),
        (lambda: VALUES[MASK], 1),
        (lambda: VALUES.clone().__setitem__(MASK, VALUES[:3]), 1),
        (lambda: MASK.nonzero(), 1),
        (lambda: torch.where(MASK), 1),
        (lambda: VALUES.masked_select(MASK), 1),
        (lambda: VALUES.new_tensor(3.0), 1),
        (lambda: torch.tensor([3.0]), 1),
        (lambda: VALUES.unique(), 1),
        (lambda: torch.equal(VALUES, VALUES), 1),
        (lambda: torch.bincount(VALUES.long()), 1),
        (lambda: torch.repeat_interleave(VALUES, VALUES.long()), 1),
        (lambda: VALUES.to("cpu", non_blocking=True), 0),
        (lambda: VALUES.to(torch.float64), 0),
        (lambda: VALUES[VALUES.long()], 0),
        (lambda: torch.where(MASK, VALUES, 0.0), 0),
        (lambda: VALUES.masked_fill(MASK, 0.0), 0),
        (lambda: torch.full((2,), 3.0), 0),
        (lambda: VALUES.sum() / 6, 0),
    ],
)
def test_all_that_a_gpu_is_waited_for_is_counted(read, num_reads):
    with Reads() as reads:
        read()
    assert reads.num_reads == num_reads


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
        "training",
        device=batch.labels.device,
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
    # What is set up before the first step may be read.
    between = [n for step, n in enumerate(per_step, start=1) if step not in (1, 4, 7)]
    assert between == [num_reads] * 4
    assert min(per_step[3], per_step[6]) > 5
    line = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert ("teacher_share" in line) == (stage != "expert")
    assert 0 < line.get("teacher_share", 0.5) < 1


@pytest.fixture
def two_ranks(monkeypatch):
    """Have modules work as one of two ranks; the sums are over a group of this process alone."""
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    for module in (ranks, standardise, sync_norm):
        monkeypatch.setattr(module, "num_ranks", lambda: 2)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "make_module",
    [
        partial(standardise.RunningStandardiser, 4),
        partial(standardise.PhiStandardiser, 4, num_calibration=10),
        partial(sync_norm.SyncedBatchNorm, 4),
    ],
)
@pytest.mark.parametrize("num_ranks", [1, 2])
def test_statistics_of_features_are_not_read(request, make_module, num_ranks):
    if num_ranks == 2:
        request.getfixturevalue("two_ranks")
    module, feature = make_module().train(), torch.randn(2, 4, 2, 3, 3, requires_grad=True)
    with Reads() as reads:
        for _ in range(3):
            module(feature).sum().backward()
        module.eval()(feature)
    assert reads.num_reads == 0


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
