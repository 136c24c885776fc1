"""What only a GPU can show: no waiting for it, pinned memory, full-sized networks in bf16."""

import warnings
from contextlib import contextmanager

import pytest
import torch

from videokd.distill.tasks import ClassificationTask
from videokd.engine.averaging import WeightAverage
from videokd.engine.meters import Meters
from videokd.engine.optim import build_optimizer
from videokd.engine.update import Learner, Update
from videokd.models.classifier import VideoClassifier
from videokd.models.zoo import get_architecture

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
SIZE = {"num_frames": 8, "crop_size": 32}


@contextmanager
def no_host_sync():
    """Raise an error where the host waits for the GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls this mode a prototype
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _check_steps_do_not_wait(task, batches, scaler=None):
    """Do what the loop does between two lines of the log; the first steps may wait."""
    task = task.cuda().train()
    optimizer = build_optimizer(task, name="adamw", base_lr=1e-3, weight_decay=0.05)
    meters = Meters(torch.device("cuda"))
    model = task.model
    update = Update(
        Learner(task, optimizer, WeightAverage(model, decay=0.9), scaler),
        meters,
        clip_grad_norm=1.0,
        num_parts=2,
        max_skipped=1,
    )

    def step(batch):
        update(batch.to("cuda", non_blocking=True), 0.0, step=0, lr=1e-3)

    first, second, *others = [batch.pin_memory() for batch in batches]
    step(first)
    step(second)
    torch.cuda.synchronize()
    with no_host_sync():
        for batch in others:
            step(batch)
    update.read_flags()
    assert update.guard.num_skipped == 0
    assert torch.isfinite(torch.tensor(meters.summarise()["loss"]))


def test_waiting_would_be_noticed():
    value = torch.ones(1, device="cuda")
    with no_host_sync(), pytest.raises(RuntimeError, match="synchroniz"):
        value.item()


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("stage", ["expert", "joint", "student"])
def test_steps_do_not_wait_for_the_gpu(make_task, make_batch, stage, precision):
    ids = (0, 0, 0, 0) if stage == "student" else (0, 1, 1, 0)
    task = make_task(stage, experts=("r2plus1d_18", "x3d_s"), precision=precision)
    scaler = torch.amp.GradScaler("cuda", init_scale=8.0) if precision == "fp16" else None
    _check_steps_do_not_wait(task, [make_batch(ids, seed=i, **SIZE) for i in range(4)], scaler)


def test_a_bad_step_on_the_gpu_leaves_the_weights_as_they_were(make_task, make_batch):
    task = make_task("expert", experts=("r3d_18",)).cuda().train()
    optimizer = build_optimizer(task, name="sgd", base_lr=1e-2, weight_decay=0.05)
    update = Update(
        Learner(task, optimizer), Meters(torch.device("cuda")), clip_grad_norm=1.0, max_skipped=1
    )
    before = {name: value.clone() for name, value in task.state_dict().items()}
    handle = task.model.normalizer.register_forward_hook(lambda m, args, clips: clips * torch.nan)
    update(make_batch((0, 1), **SIZE).to("cuda"), 0.0, step=0, lr=1e-2)
    handle.remove()
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    update(make_batch((0, 1), **SIZE).to("cuda"), 0.0, step=1, lr=1e-2)
    update.read_flags()
    assert update.guard.num_skipped == 1
    after = task.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert not all(torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.xfail(
    strict=False, reason="torchvision's MViT indexes its relative positions with CPU tensors"
)
def test_steps_with_mvit_do_not_wait_for_the_gpu(make_task, make_batch):
    task = make_task("expert", experts=("mvit_v2_s",))
    _check_steps_do_not_wait(task, [make_batch(seed=i, **SIZE) for i in range(4)])


def test_pinned_batches_arrive_as_they_are(make_batch):
    batch = make_batch()
    there = batch.pin_memory().to("cuda", non_blocking=True)
    for name in ("clips", "labels", "dataset_ids", "record_ids", "frame_indices"):
        assert getattr(there, name).is_cuda
        assert torch.equal(getattr(there, name).cpu(), getattr(batch, name))


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last_3d"])
@pytest.mark.parametrize(
    ("name", "num_frames", "crop_size"),
    [("r2plus1d_18", 16, 112), ("x3d_s", 13, 160), ("mvit_v2_s", 16, 224)],
)
def test_full_sized_networks_train_in_bf16(make_batch, name, num_frames, crop_size, memory_format):
    architecture = get_architecture(name, num_frames=num_frames, crop_size=crop_size)
    model = VideoClassifier(
        architecture.build_backbone(),
        {"a": 3},
        precision="bf16",
        memory_format=memory_format,
    )
    task = ClassificationTask(model, {"a": 1.0}).cuda().train()
    batch = make_batch((0, 0), num_frames=num_frames, crop_size=crop_size).to("cuda")
    output = task(batch)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    gradients = {key: p.grad for key, p in task.named_parameters()}
    assert all(torch.isfinite(grad).all() for grad in gradients.values() if grad is not None)
    assert gradients["model.heads.a.weight"].any()
