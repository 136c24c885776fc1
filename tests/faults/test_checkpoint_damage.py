"""Damaged checkpoints: every changed byte is found, and the newest whole one is used."""

import logging
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from damage import KINDS
from torch import nn

from videokd.engine.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    find_damage,
    load_newest_checkpoint,
)

OLD, NEW = "step-41", "step-42"


@pytest.fixture
def folder(tmp_path):
    """Two whole checkpoints of a network that learns."""
    net = nn.Sequential(nn.Conv3d(3, 16, 3), nn.BatchNorm3d(16), nn.Conv3d(16, 16, 3))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    checkpoints = CheckpointFolder(tmp_path / "checkpoints")
    for step in (41, 42):
        net(torch.randn(2, 3, 5, 5, 5)).square().mean().backward()
        optimizer.step()
        state = {"step": step, "bad_videos": [[0, "a.avi"]], "meters": {"sums": {"loss": 0.5}}}
        weights = net.state_dict()
        checkpoints.save(Checkpoint(weights, optimizer.state_dict(), state, weights))
    return checkpoints.path


def _change(path, kind, seed):
    """Damage a file so that at least one byte differs."""
    before = path.read_bytes()
    rng = np.random.default_rng(seed)
    after = before
    while after == before:
        after = bytes(KINDS[kind](bytearray(before), rng))
    path.write_bytes(after)


def _flip_one_bit(folder, name, seed):
    data = bytearray((folder / NEW / name).read_bytes())
    place = int(np.random.default_rng(seed).integers(8 * len(data)))
    data[place // 8] ^= 1 << place % 8
    (folder / NEW / name).write_bytes(data)


def _cut_one_byte(folder, name, seed):
    path = folder / NEW / name
    path.write_bytes(path.read_bytes()[:-1])


def _take_from_the_other(folder, name, seed):
    shutil.copyfile(folder / OLD / name, folder / NEW / name)


def _swap_two(folder, name, seed):
    names = sorted(path.name for path in (folder / NEW).iterdir() if path.name != name)
    other = folder / NEW / names[seed % len(names)]
    content = other.read_bytes()
    other.write_bytes((folder / NEW / name).read_bytes())
    (folder / NEW / name).write_bytes(content)


def _remove(folder, name, seed):
    (folder / NEW / name).unlink()


def _add(folder, name, seed):
    shutil.copyfile(folder / NEW / name, folder / NEW / f"{name}.{seed}")


def _make_folder(folder, name, seed):
    (folder / NEW / name).unlink()
    (folder / NEW / name).mkdir()


def _generic(kind):
    return lambda folder, name, seed: _change(folder / NEW / name, kind, seed)


WAYS = {
    "one bit flipped": _flip_one_bit,
    "last byte cut": _cut_one_byte,
    "file of another checkpoint": _take_from_the_other,
    "two files swapped": _swap_two,
    "file missing": _remove,
    "file too many": _add,
    "folder for a file": _make_folder,
    **{kind: _generic(kind) for kind in KINDS if kind != "swapped blocks"},
}


def _damage_many(folder, num, caplog, tell):
    names = sorted(path.name for path in (folder / NEW).iterdir())
    assert len(names) == 5
    whole = folder.parent / "whole"
    shutil.copytree(folder / NEW, whole)
    expected = load_newest_checkpoint(folder)
    assert expected.state["step"] == 42
    counts = Counter()
    for seed in range(num):
        # 12 ways and 5 files: each way meets each file once in 60.
        way, name = list(WAYS)[seed % len(WAYS)], names[seed % len(names)]
        WAYS[way](folder, name, seed)
        assert find_damage(folder / NEW) is not None, (way, name, seed)
        with caplog.at_level(logging.WARNING):
            assert load_newest_checkpoint(folder).state["step"] == 41, (way, name, seed)
        (record,) = caplog.records
        assert f"{folder / NEW} is damaged (" in record.getMessage()
        assert "trying an older one" in record.getMessage()
        assert "\n" not in record.getMessage()
        caplog.clear()
        counts[way] += 1
        shutil.rmtree(folder / NEW)
        shutil.copytree(whole, folder / NEW)
        assert find_damage(folder / NEW) is None
    tell(f"damaged checkpoints: {num} of {num} found, the one before was used")
    tell("  " + ", ".join(f"{way} {n}" for way, n in counts.items()))


def test_damage_is_found_and_the_newest_whole_checkpoint_used(folder, caplog, tell):
    _damage_many(folder, 36, caplog, tell)


@pytest.mark.faults
def test_damage_of_every_kind_to_every_file_is_found(folder, caplog, tell):
    _damage_many(folder, 240, caplog, tell)
