"""Cost of a step, and the error of a step that needs too much memory."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from videokd.distill.tasks import to_float
from videokd.pipeline import step_cost
from videokd.pipeline.dry_run import show_dry_run
from videokd.pipeline.step_cost import StepCost, advise, make_batch, measure_step
from videokd.pipeline.step_counters import FlopCounter, KeptBytes
from videokd.pipeline.train import run_training
from videokd.utils.errors import RunError

CPU = torch.device("cpu")


def _num_classes(run):
    return {name: parts.num_classes for name, parts in run.datasets.items()}


def _measure(run, folder):
    training = run.plan.find(folder)
    return measure_step(training, num_classes=_num_classes(run), device=CPU, optimizer="adamw")


def test_the_operations_of_an_expert_are_those_that_torch_counts(make_run):
    run = make_run()
    training = run.plan.find("experts/UCF")
    task = training.build_task(training.build_model()).train()
    batch = make_batch(training, _num_classes(run))
    with FlopCounterMode(display=False) as counter:
        task(batch, 0.0).loss.backward()
    cost = _measure(run, "experts/UCF")
    assert cost.flops == counter.get_total_flops()
    assert cost.frozen_share == 0.0


def test_the_frozen_share_of_a_student_is_its_teachers_forward(make_run):
    run = make_run()
    training = run.plan.find("students/UCF")
    task = training.build_task(training.build_model()).train()
    clips = to_float(make_batch(training, _num_classes(run)).clips)
    with FlopCounterMode(display=False) as counter:
        task.teacher(clips)
    cost = _measure(run, "students/UCF")
    # The cost includes the teacher's head.
    assert counter.get_total_flops() < cost.frozen_flops < 1.02 * counter.get_total_flops()
    assert 0.0 < cost.frozen_share < 1.0


def test_adamw_keeps_three_numbers_beside_each_weight(make_run):
    run = make_run()
    training = run.plan.find("experts/UCF")
    num_weights = sum(p.numel() for p in training.build_model().parameters())
    assert _measure(run, "experts/UCF").trained_bytes == 4 * 4 * num_weights


def test_tensors_kept_by_a_forward_are_counted_once_and_without_weights():
    class Task(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 7)

        def forward(self, x):
            # The product keeps x and weights, the square its input, the cosine the same one.
            y = self.layer(x)
            return (y.square() + y.cos()).sum()

    task = Task()
    kept = KeptBytes(task)
    with kept.watch():
        task(torch.randn(3, 5, requires_grad=True))
    assert kept.num_bytes == 4 * (3 * 5 + 3 * 7)
    assert kept.num_cast_bytes == 0
    kept = KeptBytes(task)
    with torch.autocast("cpu", torch.bfloat16), kept.watch():
        task(torch.randn(3, 5, requires_grad=True))
    assert kept.num_cast_bytes == 2 * 5 * 7


def test_memory_grows_with_the_batch_and_limits_the_largest_batch():
    cost = StepCost(
        seconds=1.0,
        num_clips=2,
        trained_bytes=100,
        frozen_bytes=20,
        cast_bytes=5,
        kept_bytes_per_clip=10,
        flops=8,
        frozen_flops=2,
    )
    assert [cost.memory_bytes(n) for n in (1, 4)] == [135, 165]
    assert [cost.largest_batch(memory) for memory in (164, 165, 60)] == [3, 4, 0]


def test_every_shape_that_the_models_take_is_in_the_batch(make_run):
    run = make_run("EXPERTS.HMDB.NUM_FRAMES", 2, "STUDENTS.UCF.CROP_SIZE", 16)
    batch = make_batch(run.plan.find("students/UCF"), _num_classes(run))
    main, *others = [tuple(clips.shape) for clips in batch.clips.values()]
    assert main == (2, 3, 4, 16, 16)
    assert set(others) == {(2, 3, 4, 32, 32), (2, 3, 2, 32, 32)}


def test_a_dry_run_refuses_trainings_beyond_the_memory(make_run, monkeypatch):
    monkeypatch.setattr("videokd.pipeline.dry_run.device_memory_bytes", lambda device: 2**20)
    with pytest.raises(
        RunError, match=r"^experts/UCF, .* would not fit .*lower the size of the networks"
    ):
        show_dry_run(make_run())


def test_a_dry_run_names_the_training_whose_first_step_fails(make_run, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("videokd.pipeline.dry_run.measure_step", fail)
    with pytest.raises(RunError, match="experts/UCF: its first step fails: out of memory"):
        show_dry_run(make_run())


def test_the_attention_of_a_cpu_is_counted():
    # (B, heads, L, D): two products of 2 L L D each, forward; five of them backward.
    q, k, v = (torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3))
    counter = FlopCounter()
    with counter:
        attention = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert counter.total == 2 * 3 * 2 * (2 * 5 * 5 * 8)
    with counter:
        attention.sum().backward()
    assert counter.total == 2 * 3 * (2 + 5) * (2 * 5 * 5 * 8)


def test_the_backward_of_a_depthwise_convolution_costs_twice_its_forward():
    # 6 channels of 4 x 5 x 5 positions, 27 products each.
    conv = nn.Conv3d(6, 6, 3, padding=1, groups=6, bias=False)
    counter = FlopCounter()
    with counter:
        result = conv(torch.randn(1, 6, 4, 5, 5, requires_grad=True))
    forward = 2 * 6 * (4 * 5 * 5) * 27
    assert counter.total == forward
    with counter:
        result.sum().backward()
    assert counter.total == 3 * forward


@pytest.fixture
def train_beyond_memory(make_run, monkeypatch):
    """``train_beyond_memory(largest)``: more than ``largest`` clips at once exceed the memory."""

    def train(largest, *overrides):
        run = make_run("SOLVER.MAX_EPOCH", 1, *overrides, is_dry=False, datasets=["UCF"])
        training = run.plan.find("experts/UCF")
        plain = torch.nn.Conv3d.forward

        def forward(module, clips):
            if len(clips) > largest:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore.")
            return plain(module, clips)

        monkeypatch.setattr(torch.nn.Conv3d, "forward", forward)
        run_training(run, training)
        return run

    return train


def test_a_step_beyond_the_memory_names_the_keys_to_lower_and_prints_its_memory(
    train_beyond_memory, capsys, caplog, monkeypatch
):
    monkeypatch.setattr(step_cost, "device_memory_bytes", lambda device: 2**30)
    message = (
        r"^experts/UCF: cpu is out of memory \(1.0 GiB\) with 8 clips: lower TRAIN.BATCH_SIZE to 7 "
        "or less, or raise TRAIN.ACCUMULATE until no more than 7 clips are taken at once"
    )
    with pytest.raises(RunError, match=message):
        train_beyond_memory(4)
    shown = " ".join(capsys.readouterr().out.split())
    assert "Memory of a step of experts/UCF" in shown
    assert "activations of 8 clips" in shown
    assert "experts/UCF: CUDA out of memory. Tried to allocate 2 GiB." in caplog.text


def test_the_advice_is_the_estimated_number_of_clips(train_beyond_memory, monkeypatch):
    monkeypatch.setattr(StepCost, "largest_batch", lambda cost, memory: 5)
    with pytest.raises(RunError, match="lower TRAIN.BATCH_SIZE to 5 or less"):
        train_beyond_memory(4)


def test_two_clips_are_named_if_not_even_they_fit(train_beyond_memory):
    with pytest.raises(RunError, match="with 8 clips, and so it is with two: lower the size"):
        train_beyond_memory(1)


def test_the_advice_helps(train_beyond_memory):
    run = train_beyond_memory(4, "TRAIN.ACCUMULATE", 2, "TRAIN.EVAL_PERIOD", 0)
    assert (run.folder / "experts" / "UCF" / "model.safetensors").exists()


def test_weights_beyond_the_memory_need_smaller_networks():
    assert advise(1).startswith("lower the size of the networks, or the size of their clips; ")
