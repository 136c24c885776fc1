"""Trainings in shards as the pipeline makes them, in a group of one process that says it is two."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule

from videokd.engine.distributed import RankInfo, Ranks
from videokd.engine.sharding import is_in_shards
from videokd.models import classifier
from videokd.models.checkpointing import list_blocks
from videokd.pipeline import train
from videokd.pipeline.step_cost import make_batch


@pytest.fixture
def make_learner(make_run):
    """``make_learner(folder, *overrides)``: the run, the training and its learner."""
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())

    def make(folder, *overrides):
        run = make_run(*overrides, datasets=["UCF"])
        run = replace(run, ranks=Ranks(RankInfo(0, 2)))
        training = run.plan.find(folder)
        return run, training, train._make_learner(run, training, training.build_model())

    yield make
    dist.destroy_process_group()


def test_convolutions_are_checked_before_they_are_shared_out(make_learner, monkeypatch):
    checked = []

    def note(backbone, *_):
        checked.append(any(map(is_in_shards, backbone.parameters())))

    monkeypatch.setattr(classifier, "guard_convs", note)
    words = ("TRAIN.SHARD_WEIGHTS", True, "EXPERTS.UCF.PRECISION", "bf16")
    run, training, learner = make_learner("experts/UCF", *words)
    assert all(map(is_in_shards, learner.task.parameters()))
    assert checked == [False]
    batch = make_batch(training, {"UCF": run.datasets["UCF"].num_classes})
    learner.wrap_task()(batch, 0.0).loss.backward()
    assert checked == [False]


def test_blocks_are_put_together_one_at_a_time(make_learner):
    _, _, learner = make_learner("experts/UCF", "TRAIN.SHARD_WEIGHTS", True)
    backbone = learner.task.model.backbone
    assert all(isinstance(block, FSDPModule) for block in list_blocks(backbone))
    assert len(list_blocks(backbone)) == 4


def test_what_is_frozen_is_neither_shared_out_nor_copied(make_learner):
    _, _, learner = make_learner("joint", "TRAIN.SHARD_WEIGHTS", True)
    expert = learner.task.model.experts["UCF"]
    assert not any(map(is_in_shards, expert.module.parameters()))
    assert learner.sharding.model.experts["UCF"] is expert


def test_nothing_is_shared_out_unless_asked_for(make_learner):
    _, _, learner = make_learner("experts/UCF")
    assert learner.sharding is None


def test_what_was_trained_in_shards_takes_no_memory_afterwards(make_learner, monkeypatch):
    weights = []

    def train_and_leave(run, training, stage):
        learner = train._make_learner(run, training, training.build_model())
        weights.append(weakref.ref(next(learner.task.parameters())))

    run, training, _ = make_learner("experts/UCF", "TRAIN.SHARD_WEIGHTS", True)
    monkeypatch.setattr(train, "_run_training", train_and_leave)
    gc.disable()
    try:
        train.run_training(run, training)
    finally:
        gc.enable()
    assert weights[0]() is None
