"""What a training says whose step does not fit into the memory."""

import pytest
import torch

from videokd.pipeline import memory
from videokd.pipeline.memory import advise
from videokd.pipeline.rehearsal import StepCost
from videokd.pipeline.train import run_training
from videokd.utils.errors import RunError


@pytest.fixture
def train_beyond_memory(make_run, monkeypatch):
    """``train_beyond_memory(largest)``: with more than ``largest`` clips at once it is too much."""

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


def test_a_step_beyond_the_memory_says_what_to_lower_and_where_it_goes(
    train_beyond_memory, capsys, caplog, monkeypatch
):
    monkeypatch.setattr(memory, "device_memory_bytes", lambda device: 2**30)
    message = (
        r"^experts/UCF: cpu is out of memory \(1.0 GiB\) with 8 clips: lower TRAIN.BATCH_SIZE to 7 "
        "or less, or raise TRAIN.ACCUMULATE until no more than 7 clips are taken at once"
    )
    with pytest.raises(RunError, match=message):
        train_beyond_memory(4)
    shown = " ".join(capsys.readouterr().out.split())
    assert "Memory of a step of experts/UCF" in shown
    assert "kept of 8 clips" in shown
    assert "experts/UCF: CUDA out of memory. Tried to allocate 2 GiB." in caplog.text


def test_the_advice_is_the_number_that_the_estimate_says(train_beyond_memory, monkeypatch):
    monkeypatch.setattr(StepCost, "largest_batch", lambda cost, memory: 5)
    with pytest.raises(RunError, match="lower TRAIN.BATCH_SIZE to 5 or less"):
        train_beyond_memory(4)


def test_a_memory_that_others_hold_is_said_to_be_too_small_for_two_clips(train_beyond_memory):
    with pytest.raises(RunError, match="with 8 clips, and so it is with two: lower the size"):
        train_beyond_memory(1)


def test_the_advice_helps(train_beyond_memory):
    run = train_beyond_memory(4, "TRAIN.ACCUMULATE", 2, "TRAIN.EVAL_PERIOD", 0)
    assert (run.folder / "experts" / "UCF" / "model.safetensors").exists()


def test_where_the_weights_are_too_much_fewer_clips_do_not_help():
    assert advise(1).startswith("lower the size of the networks, or the size of their clips; ")
