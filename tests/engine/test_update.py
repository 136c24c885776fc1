"""One step: its parts, its precision, and what a step that is not finite leaves as it was."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from videokd.engine.averaging import WeightAverage
from videokd.engine.meters import Meters
from videokd.engine.optim import build_optimizer
from videokd.engine.update import Learner, Update
from videokd.fusion.standardise import PhiStandardiser
from videokd.utils.errors import RunError

CPU = torch.device("cpu")
TINY = {"num_frames": 2, "crop_size": 4}


def _update(task, *, name="sgd", lr=0.1, fused=None, average=None, scaler=None, **options):
    optimizer = build_optimizer(task, name=name, base_lr=lr, weight_decay=0.1)
    for group in optimizer.param_groups:
        group["fused"] = fused  # what makes the device decide, which CPUs can do as well
    meters = Meters(CPU)
    learner = Learner(task, optimizer, average, scaler)
    return Update(learner, meters, **{"clip_grad_norm": 0.0, **options}), learner, meters


class Line(nn.Module):
    """A linear classifier with batch norm; ``spoil`` changes what it computes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.layer = nn.Linear(6, 3)
        self.phi = PhiStandardiser(6, num_calibration=50)
        self.spoil = lambda clips, output: output
        self.seen = []

    def forward(self, batch, progress):
        clips = batch.main.float().mean(dim=(3, 4)).flatten(1) / 255
        clips = self.spoil(clips, None) if self.spoil.__name__ == "input" else clips
        self.seen.append(len(batch))
        logits = self.layer(self.phi(self.norm(clips)))
        loss = F.cross_entropy(logits, batch.labels)
        output = SimpleNamespace(
            loss=loss,
            correct=logits.argmax(1) == batch.labels,
            terms={"ce": loss.detach()},
            counts={},
        )
        return output if self.spoil.__name__ == "input" else self.spoil(clips, output)


def input(clips, _):  # noqa: A001
    return clips * torch.nan


def loss(_, output):
    return SimpleNamespace(**{**vars(output), "loss": output.loss * torch.inf})


def _state(learner):
    state = {"task": learner.task.state_dict(), "optimizer": learner.optimizer.state_dict()}
    if learner.average is not None:
        state["average"] = learner.average.module.state_dict()
    return copy.deepcopy(state)


def _are_equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_are_equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("spoil", [input, loss])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("fused", [None, True])
def test_a_bad_step_leaves_everything_as_it_was(make_batch, name, fused, spoil):
    """Steps 0 and 2 are bad, in a copy they are not there at all."""
    results = []
    for is_spoilt in (True, False):
        torch.manual_seed(0)
        task = Line()
        if fused:  # counts on the host, which does not know there
            task.phi = nn.Identity()
        # The decay is below all that depends on the number of updates.
        average = WeightAverage(task, decay=0.05)
        update, learner, meters = _update(
            task, name=name, max_skipped=1, clip_grad_norm=0.3, fused=fused, average=average
        )
        for step in range(4):
            is_bad = step % 2 == 0
            if is_bad and not is_spoilt:
                continue
            task.spoil = spoil if is_bad else (lambda clips, output: output)
            update(make_batch(seed=step, **TINY), 0.0, step=step, lr=0.1)
        update.read_flags()
        state = _state(learner)
        results.append((state, meters.state()))
        assert update.guard.num_skipped == 2 * is_spoilt
    assert _are_equal(results[0][0], results[1][0])
    for key in ("sums", "counts", "num_correct", "num_labelled"):
        assert results[0][1][key] == results[1][1][key]


@pytest.mark.parametrize("fused", [None, True])
def test_more_bad_steps_in_a_row_than_allowed_end_it(make_batch, fused):
    task = Line()
    update, _, _ = _update(task, fused=fused, max_skipped=2)
    task.spoil = loss

    def do(step):
        update(make_batch(seed=step, **TINY), 0.0, step=step, lr=0.1)
        update.read_flags()

    do(0)
    do(1)
    with pytest.raises(RunError, match="^3 steps in a row, the last: the loss is inf at s"):
        do(2)
    assert update.guard.num_skipped == 3


def test_a_good_step_starts_the_count_anew(make_batch):
    task = Line()
    update, _, _ = _update(task, max_skipped=1)
    for step in range(6):
        task.spoil = loss if step % 2 else (lambda clips, output: output)
        update(make_batch(seed=step, **TINY), 0.0, step=step, lr=0.1)
    assert update.guard.num_skipped == 3


def test_only_the_clips_of_a_bad_part_are_named(make_batch):
    task = Line()
    update, _, _ = _update(task, num_parts=4)
    task.spoil = lambda clips, out: loss(clips, out) if len(task.seen) == 3 else out
    with pytest.raises(RunError, match=r"record ids \[4, 5\];"):
        update(make_batch((0,) * 8, **TINY), 0.0, step=0, lr=0.1)


def _hand_written(task, batches, scaler):
    """Train as torch's own examples do; return after which steps the scale had fallen."""
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    skipped = []
    for step, batch in enumerate(batches):
        optimizer.zero_grad()
        scaler.scale(task(batch, 0.0).loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(task.parameters(), 0.3)
        scaler.step(optimizer)
        before = scaler.get_scale()
        scaler.update()
        if scaler.get_scale() < before:
            skipped.append(step)
    return skipped


class Steep(Line):
    """Its gradient overflows float16 wherever the scaled loss is large."""

    def __init__(self):
        super().__init__()
        self.norm, self.phi = nn.Identity(), nn.Identity()
        self.layer.weight.register_hook(lambda grad: grad.half().float())


@pytest.mark.parametrize("fused", [None, True])
def test_a_storm_of_overflows_skips_the_steps_that_torchs_loop_skips(make_batch, fused):
    batches = [make_batch(seed=i, **TINY) for i in range(30)]

    def make_scaler():
        return torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=3)

    torch.manual_seed(0)
    task, same = Steep(), Steep()
    same.load_state_dict(task.state_dict())
    scaler, own_scaler = make_scaler(), make_scaler()
    expected = _hand_written(same, batches, scaler)
    assert 3 < len(expected) < 27
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=fused)
    learner = Learner(task, optimizer, scaler=own_scaler)
    update = Update(learner, Meters(CPU), clip_grad_norm=0.3)
    skipped = []
    for step, batch in enumerate(batches):
        before = update.guard.num_skipped
        update(batch, 0.0, step=step, lr=0.1)
        update.read_flags()
        skipped += [step] * (update.guard.num_skipped - before)
    assert skipped == expected
    assert own_scaler.state_dict() == scaler.state_dict()
    for key, value in task.state_dict().items():
        torch.testing.assert_close(value, same.state_dict()[key], rtol=1e-5, atol=1e-7)


def test_an_overflow_at_the_floor_of_the_scale_counts(make_batch):
    task = Steep()
    task.layer.weight.register_hook(lambda grad: grad * torch.inf)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    update, _, _ = _update(task, scaler=scaler, max_skipped=1)
    for step in range(3):  # 4 and 2, which a lower scale may mend; 1
        update(make_batch(seed=step, **TINY), 0.0, step=step, lr=0.1)
    with pytest.raises(RunError, match=r"^2 steps in a row.* gradient of layer.weight not"):
        update(make_batch(seed=3, **TINY), 0.0, step=3, lr=0.1)
    assert update.guard.num_skipped == 4


def test_the_state_goes_on_with_scale_and_counts(make_batch):
    task = Steep()
    update, learner, _ = _update(task, scaler=torch.amp.GradScaler("cpu", init_scale=2.0**40))
    for step in range(3):
        update(make_batch(seed=step, **TINY), 0.0, step=step, lr=0.1)
    state = update.state()
    assert (state["num_skipped"], state["scaler"]["scale"]) == (3, 2.0**37)
    other, other_learner, _ = _update(Steep(), scaler=torch.amp.GradScaler("cpu"))
    other.load_state(state)
    assert other.state() == state
    assert other_learner.scaler.scale(torch.ones(())).item() == learner.scaler.get_scale()
