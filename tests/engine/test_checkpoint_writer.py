import os
import threading
from dataclasses import replace

import pytest
import torch
from torch import nn

from videokd.engine.checkpoint import Checkpoint, CheckpointFolder, load_newest_checkpoint
from videokd.engine.checkpoint_writer import CheckpointWriter
from videokd.utils.errors import RunError


class Gate(CheckpointFolder):
    """Writes when it is let, and remembers in which thread."""

    def __init__(self, path):
        super().__init__(path)
        self.open = threading.Event()
        self.begun = threading.Event()
        self.threads = []

    def save(self, checkpoint, *, best_step=None):
        self.threads.append(threading.current_thread())
        self.begun.set()
        assert self.open.wait(30)
        return super().save(checkpoint, best_step=best_step)


class Full(CheckpointFolder):
    """A folder on a full disk."""

    def save(self, checkpoint, *, best_step=None):
        raise RunError(f"step-{checkpoint.state['step']}: disk full")


@pytest.fixture
def training():
    """A network with tied weights after a step of AdamW, its optimizer and its checkpoint."""
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    net(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = {"step": 1, "bad_videos": [[0, "a"]], "meters": {"sums": {"loss": 1.5}}}
    average = {name: value.clone() for name, value in net.state_dict().items()}
    return net, optimizer, Checkpoint(net.state_dict(), optimizer.state_dict(), state, average)


def _copy(checkpoint):
    def copy(value):
        if isinstance(value, torch.Tensor):
            return value.tolist()
        if isinstance(value, dict):
            return {key: copy(item) for key, item in value.items()}
        return [copy(item) for item in value] if isinstance(value, list | tuple) else value

    return {name: copy(value) for name, value in vars(checkpoint).items()}


def test_what_changes_after_the_copy_is_not_in_the_checkpoint(tmp_path, training):
    net, optimizer, checkpoint = training
    before = _copy(checkpoint)
    folder = Gate(tmp_path)
    with CheckpointWriter(folder) as writer:
        writer.save(checkpoint)
        assert folder.begun.wait(30)
        net(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
        for value in checkpoint.average.values():
            value.zero_()
        optimizer.param_groups[0]["lr"] = 7.0
        checkpoint.state["bad_videos"].append([0, "b"])
        checkpoint.state["meters"]["sums"]["loss"] = 9.0
        assert _copy(checkpoint) != before
        folder.open.set()
    assert _copy(load_newest_checkpoint(tmp_path)) == before


def test_the_copy_shares_no_memory_with_the_training(tmp_path, training, monkeypatch):
    _, _, checkpoint = training
    seen = []
    monkeypatch.setattr(CheckpointFolder, "save", lambda self, own, best_step: seen.append(own))
    with CheckpointWriter(CheckpointFolder(tmp_path)) as writer:
        writer.save(checkpoint)
    (own,) = seen
    places = {value.data_ptr() for value in _tensors(vars(checkpoint))}
    copies = {value.data_ptr() for value in _tensors(vars(own))}
    assert len(places) > 8
    assert places.isdisjoint(copies)


def _tensors(values):
    for value in values.values():
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors(value)


def test_the_training_goes_on_while_a_checkpoint_is_written(tmp_path, training):
    folder = Gate(tmp_path)
    with CheckpointWriter(folder) as writer:
        writer.save(training[2])
        assert folder.begun.wait(30)
        writer.raise_if_failed()
        assert load_newest_checkpoint(tmp_path) is None
        assert folder.threads != [threading.current_thread()]
        folder.open.set()
    assert load_newest_checkpoint(tmp_path).state["step"] == 1


def test_the_next_save_waits_for_the_last(tmp_path, training):
    folder = Gate(tmp_path)
    opened = threading.Timer(0.2, folder.open.set)
    with CheckpointWriter(folder) as writer:
        writer.save(training[2])
        opened.start()
        writer.save(replace(training[2], state={"step": 2}))
        assert (tmp_path / "step-1" / "manifest.json").exists()
    assert len(folder.threads) == 2
    assert sorted(os.listdir(tmp_path)) == ["step-1", "step-2"]


def _go_on_for_long(writer):
    for _ in range(10_000):
        writer.raise_if_failed()
        threading.Event().wait(0.001)


def _fail(writer, checkpoint, error):
    with writer:
        writer.save(checkpoint)
        raise error


def test_a_failed_write_is_told_once_at_the_next_safe_point(tmp_path, training):
    with CheckpointWriter(Full(tmp_path)) as writer:
        writer.save(training[2])
        with pytest.raises(RunError, match="step-1: disk full"):
            _go_on_for_long(writer)
        writer.raise_if_failed()
        writer.save(training[2])
        with pytest.raises(RunError, match="step-1: disk full"):
            writer.save(training[2])


def test_a_failed_write_at_the_end_is_told(tmp_path, training):
    with (
        pytest.raises(RunError, match="step-1: disk full"),
        CheckpointWriter(Full(tmp_path)) as writer,
    ):
        writer.save(training[2])


def test_what_ended_the_training_comes_before_a_failed_write(tmp_path, training):
    writer = CheckpointWriter(Full(tmp_path))
    with pytest.raises(ValueError, match="loss"):
        _fail(writer, training[2], ValueError("loss"))


def test_a_training_that_fails_leaves_no_write_behind(tmp_path, training):
    folder = Gate(tmp_path)
    threading.Timer(0.2, folder.open.set).start()
    with pytest.raises(ValueError, match="loss"):
        _fail(CheckpointWriter(folder), training[2], ValueError("loss"))
    assert not folder.threads[0].is_alive()
    assert load_newest_checkpoint(tmp_path).state["step"] == 1


def test_an_interrupt_does_not_wait(tmp_path, training):
    folder = Gate(tmp_path)
    with pytest.raises(KeyboardInterrupt, match="^$"):
        _fail(CheckpointWriter(folder), training[2], KeyboardInterrupt())
    assert folder.begun.wait(30)
    assert folder.threads[0].is_alive()
    assert folder.threads[0].daemon
    folder.open.set()
    folder.threads[0].join()
