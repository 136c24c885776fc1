"""What is the same on every device; the CPU stands in for it where there is no GPU."""

from dataclasses import dataclass, field

import pytest
import torch

from videokd.data.test_views import ViewBatch
from videokd.distill.tasks import to_float
from videokd.engine.meters import Meters
from videokd.engine.optim import build_optimizer
from videokd.engine.stop import Stopped
from videokd.engine.train import Learner, TrainSettings, train
from videokd.evaluation.multi_view import predict_views

SIZE = {"num_frames": 8, "crop_size": 32}


def _relative_error(value, expected):
    value, expected = value.detach().float().cpu(), expected.detach().float().cpu()
    return ((value - expected).norm() / expected.norm()).item()


def _step(task, batch):
    """Do one SGD step; return the loss and all gradients in a row, on the CPU."""
    optimizer = build_optimizer(task, name="sgd", base_lr=0.01, weight_decay=0.0)
    task.train()
    loss = task(batch).loss
    loss.backward()
    parameters = dict(task.named_parameters())
    # Copied before the step: on CUDA, Nesterov momentum is added to the gradients in place.
    gradient = torch.cat([p.grad.flatten() for p in parameters.values() if p.grad is not None])
    optimizer.step()
    assert all(p.device == batch.labels.device for p in parameters.values())
    return loss.detach().cpu(), gradient.cpu()


@pytest.mark.parametrize("stage", ["joint", "student"])
def test_a_step_is_the_cpus_step_in_float32(make_task, make_batch, device, stage):
    batch = make_batch((0, 0, 0, 0) if stage == "student" else (0, 1, 1, 0), **SIZE)
    loss, gradient = _step(make_task(stage), batch)
    # Another layout, so that on a CPU it is not one and the same computation.
    other = make_task(stage, memory_format="channels_last_3d").to(device)
    other_loss, other_gradient = _step(other, batch.to(device))
    torch.testing.assert_close(other_loss, loss, rtol=1e-4, atol=0)
    assert _relative_error(other_gradient, gradient) < 1e-2


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last_3d"])
@pytest.mark.parametrize("name", ["r2plus1d_18", "x3d_s", "mvit_v2_s"])
def test_bf16_features_are_close_to_float32(
    make_classifier, make_batch, device, name, memory_format
):
    model = make_classifier(name, memory_format=memory_format).to(device).eval()
    clips = to_float(make_batch().to(device).clips)
    with torch.no_grad():
        expected = model(clips)
        model.precision = "bf16"
        features = model(clips)
    assert features.embedding.device.type == device.type
    for level, value in expected.levels.items():
        assert _relative_error(features.levels[level], value) < 0.05
    assert _relative_error(features.embedding, expected.embedding) < 0.05


def test_frozen_experts_move_with_the_task(make_task, device):
    task = make_task("student").to(device)
    teacher = task.teacher.module
    experts = [expert.module for expert in teacher.experts.values()]
    for module in (teacher, *experts):
        tensors = [*module.parameters(), *module.buffers()]
        assert {tensor.device.type for tensor in tensors} == {device.type}
        assert not any(p.requires_grad for p in module.parameters())
        assert not module.training


def test_bf16_training_has_finite_gradients(make_task, make_batch, device):
    # Clips of 8 frames meet a kernel of 3 with 2 in the last stage.
    task = make_task("expert", experts=("r2plus1d_18",), precision="bf16").to(device)
    for seed in range(2):
        _, gradient = _step(task, make_batch((0, 1, 1, 0), seed=seed, **SIZE).to(device))
        assert torch.isfinite(gradient).all()


def test_meters_give_the_same_sums(make_task, make_batch, device):
    task, batch = make_task("joint").to(device), make_batch((0, 1, 1, 0), **SIZE).to(device)
    meters = Meters(device)
    with torch.no_grad():
        output = task(batch)
        meters.add(output, 4)
        meters.add(output, 4)
    line = meters.summarise()
    assert line["loss"] == pytest.approx(output.loss.item(), rel=1e-5)
    assert line["top1"] == pytest.approx(100 * output.correct.float().mean().item())


@dataclass
class StopAt:
    """A progress bar and a stop request in one: stops after ``step`` steps."""

    step: int = -1
    is_set: bool = False
    steps: list[int] = field(default_factory=list)

    def update(self, step, text):
        self.steps.append(step)
        self.is_set = step == self.step


def test_a_training_goes_on_where_it_stopped(make_task, make_batch, device, tmp_path):
    settings = TrainSettings(
        num_steps=4,
        base_lr=0.01,
        warmup_steps=1,
        clip_grad_norm=1.0,
        seed=0,
        log_period=2,
        eval_period=0,
        checkpoint_period_sec=1e9,
        num_checkpoints=2,
        max_bad_videos=0,
        dataset_names=("a", "b"),
    )

    def loader(step):
        while True:
            yield make_batch((0, 1, 1, 0), seed=step, **SIZE)
            step += 1

    def run(name, stop):
        task = make_task("expert", experts=("r3d_18",), dropout=0.5).to(device)
        optimizer = build_optimizer(task, name="sgd", base_lr=0.01, weight_decay=0.05)
        folder = tmp_path / name
        train(
            Learner(task, optimizer),
            loader,
            settings=settings,
            folder=folder,
            evaluate=dict,
            stop=stop,
            progress=stop,
        )
        return task.state_dict()

    whole = run("whole", StopAt())
    with pytest.raises(Stopped, match="^$"):
        run("parts", StopAt(2))
    rest = StopAt()
    parts = run("parts", rest)
    assert rest.steps == [3, 4]
    for key, value in whole.items():
        assert parts[key].device.type == device.type
        # Not to the last bit: some of a GPU's sums depend on the order of its threads.
        torch.testing.assert_close(parts[key], value, rtol=1e-3, atol=1e-4)


def test_scores_of_views_are_those_of_the_cpu(make_classifier, device):
    model = make_classifier("r3d_18").eval()
    clips = {"clip": torch.randint(256, (6, 3, 4, 32, 32), dtype=torch.uint8)}
    batch = ViewBatch(
        clips, torch.tensor([3, 3]), torch.tensor([0, 2]), torch.tensor([0, 1]), bad=()
    )
    with torch.no_grad():
        expected = model.classify(model(to_float(clips)).embedding, "a").view(2, 3, 3)
    found = predict_views(model.to(device), "a", [batch], device=device, after_batch=lambda _: None)
    torch.testing.assert_close(torch.from_numpy(found.logits), expected, rtol=1e-3, atol=1e-4)
