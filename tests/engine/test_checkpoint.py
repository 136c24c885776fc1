import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from videokd.engine import checkpoint as checkpoint_module
from videokd.engine.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    find_damage,
    load_newest_checkpoint,
    load_weights,
    save_weights,
)
from videokd.utils.errors import InputError

FILES = ["model.safetensors", "optimizer.pt", "state.json", "manifest.json"]


def _checkpoint(step):
    net = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    net(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    return Checkpoint(net.state_dict(), optimizer.state_dict(), {"step": step, "bad_videos": ["x"]})


def _damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_checkpoint_comes_back_bit_equal(tmp_path):
    saved = _checkpoint(3)
    CheckpointFolder(tmp_path).save(saved)
    loaded = load_newest_checkpoint(tmp_path)
    assert loaded.state == saved.state
    assert all(torch.equal(loaded.model[key], value) for key, value in saved.model.items())
    assert loaded.optimizer["param_groups"] == saved.optimizer["param_groups"]
    for i, entry in saved.optimizer["state"].items():
        assert all(torch.equal(loaded.optimizer["state"][i][key], v) for key, v in entry.items())


def test_an_average_comes_back_bit_equal_and_is_watched_like_the_rest(tmp_path, caplog):
    average = nn.Linear(3, 2).state_dict()
    CheckpointFolder(tmp_path).save(_checkpoint(1))
    CheckpointFolder(tmp_path).save(replace(_checkpoint(2), average=average))
    loaded = load_newest_checkpoint(tmp_path)
    assert all(torch.equal(loaded.average[key], value) for key, value in average.items())
    (tmp_path / "step-2" / "average.safetensors").unlink()
    older = load_newest_checkpoint(tmp_path)
    assert (older.state["step"], older.average) == (1, None)
    assert "step-2 is damaged" in caplog.text


def test_no_checkpoint_is_none(tmp_path):
    assert load_newest_checkpoint(tmp_path) is None
    assert load_newest_checkpoint(tmp_path / "absent") is None


def test_the_newest_by_number_is_loaded_and_unfinished_ones_are_not(tmp_path):
    CheckpointFolder(tmp_path).save(_checkpoint(9))
    shutil.copytree(tmp_path / "step-9", tmp_path / "kept")
    CheckpointFolder(tmp_path / "other").save(_checkpoint(10))
    (tmp_path / "other" / "step-10").rename(tmp_path / "step-10")
    shutil.copytree(tmp_path / "step-10", tmp_path / "step-11.tmp")
    assert load_newest_checkpoint(tmp_path).state["step"] == 10


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _save_all(folder, steps, **options):
    checkpoints = CheckpointFolder(folder, **options)
    for step in steps:
        checkpoints.save(_checkpoint(step))
    return checkpoints


@pytest.mark.parametrize(
    ("num_kept", "kept"), [(1, [10]), (2, [9, 10]), (3, [4, 9, 10]), (9, [1, 4, 9, 10])]
)
def test_the_newest_whole_checkpoints_are_kept(tmp_path, num_kept, kept):
    _save_all(tmp_path, (1, 4, 9, 10), num_kept=num_kept)
    assert _names(tmp_path) == sorted(f"step-{step}" for step in kept)


def test_the_best_is_kept_beside_the_newest_until_there_is_a_better_one(tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    for step, best in ((1, None), (2, 2), (3, 2), (4, 2), (5, 2)):
        checkpoints.save(_checkpoint(step), best_step=best)
    assert _names(tmp_path) == ["step-2", "step-4", "step-5"]
    # It is no stored choice: another folder object, or none of the files, says so.
    CheckpointFolder(tmp_path).save(_checkpoint(6), best_step=2)
    assert _names(tmp_path) == ["step-2", "step-5", "step-6"]
    checkpoints.save(_checkpoint(7), best_step=7)
    assert _names(tmp_path) == ["step-6", "step-7"]


def test_a_best_checkpoint_that_is_damaged_is_not_kept(tmp_path):
    _save_all(tmp_path, (1,))
    _damage(tmp_path / "step-1" / "model.safetensors")
    checkpoints = _save_all(tmp_path, (2, 3))
    checkpoints.save(_checkpoint(4), best_step=1)
    assert _names(tmp_path) == ["step-3", "step-4"]


def test_what_was_seen_to_be_whole_is_not_read_again_at_every_save(tmp_path, monkeypatch):
    read = []
    find = checkpoint_module.find_damage
    monkeypatch.setattr(
        checkpoint_module, "find_damage", lambda path: (read.append(path.name), find(path))[1]
    )
    _save_all(tmp_path, (1, 2, 3, 4))
    assert read == []
    _save_all(tmp_path, (5, 6, 7), num_kept=3)
    assert read == ["step-4", "step-3"]


def test_damaged_and_unfinished_checkpoints_are_deleted_when_a_new_one_is_whole(tmp_path):
    for step in (1, 4):
        CheckpointFolder(tmp_path).save(_checkpoint(step))
    (tmp_path / "step-2.tmp").mkdir()
    _damage(tmp_path / "step-4" / "optimizer.pt")
    # A training that went on from step 1 gets to 3 before it gets to 4.
    CheckpointFolder(tmp_path).save(_checkpoint(3))
    assert _names(tmp_path) == ["step-1", "step-3"]


def test_everything_is_on_disk_before_a_checkpoint_gets_its_name(tmp_path, monkeypatch):
    events = []
    names = {}
    fsync, rename, open_file = os.fsync, Path.rename, os.open

    def remember(path, *arguments, **options):
        handle = open_file(path, *arguments, **options)
        names[handle] = os.path.basename(os.fspath(path))
        return handle

    monkeypatch.setattr(os, "open", remember)
    monkeypatch.setattr(
        os, "fsync", lambda handle: (events.append(names.get(handle)), fsync(handle))[1]
    )
    monkeypatch.setattr(
        Path, "rename", lambda self, target: (events.append("rename"), rename(self, target))[1]
    )
    CheckpointFolder(tmp_path / "checkpoints").save(_checkpoint(1))
    before, after = events[: events.index("rename")], events[events.index("rename") + 1 :]
    assert {"model.safetensors.tmp", "optimizer.pt", "step-1.tmp"} <= set(before)
    assert before[-1] == "step-1.tmp"
    assert after == ["checkpoints"]


def test_weights_cut_off_while_they_are_written_leave_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(path, nn.Linear(3, 2).state_dict())
    before = path.read_bytes()

    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(path, nn.Linear(3, 2).state_dict())
    assert path.read_bytes() == before


def test_the_model_of_a_trainings_checkpoint_can_be_loaded_alone(tmp_path):
    task = nn.ModuleDict({"model": nn.Linear(3, 2), "objective": nn.Linear(2, 2)})
    save_weights(tmp_path / "w.safetensors", task.state_dict())
    model = nn.Linear(3, 2)
    load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.weight, task["model"].weight)


def test_a_failed_save_leaves_the_older_checkpoint(tmp_path):
    CheckpointFolder(tmp_path).save(_checkpoint(1))
    broken = Checkpoint(_checkpoint(2).model, {}, {"step": 2, "loss": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        CheckpointFolder(tmp_path).save(broken)
    assert load_newest_checkpoint(tmp_path).state["step"] == 1


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["damaged", "cut off", "missing"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning_for_an_older_one(
    tmp_path, caplog, name, how
):
    CheckpointFolder(tmp_path).save(_checkpoint(1))
    CheckpointFolder(tmp_path / "newer").save(_checkpoint(2))
    newest = (tmp_path / "newer" / "step-2").rename(tmp_path / "step-2")
    if how == "damaged":
        _damage(newest / name)
    elif how == "cut off":
        (newest / name).write_bytes((newest / name).read_bytes()[:-20])
    else:
        (newest / name).unlink()
    assert load_newest_checkpoint(tmp_path).state["step"] == 1
    assert "step-2 is damaged" in caplog.text


def test_when_all_are_damaged_none_is_loaded(tmp_path, caplog):
    _damage(CheckpointFolder(tmp_path).save(_checkpoint(1)) / "model.safetensors")
    assert load_newest_checkpoint(tmp_path) is None
    assert "model.safetensors does not match its SHA-256" in caplog.text


def test_a_damaged_checkpoint_of_the_same_step_is_replaced(tmp_path):
    _damage(CheckpointFolder(tmp_path).save(_checkpoint(1)) / "optimizer.pt")
    CheckpointFolder(tmp_path).save(_checkpoint(1))
    assert load_newest_checkpoint(tmp_path).state["step"] == 1


def test_weights_in_another_memory_format_come_back_equal(tmp_path):
    conv = nn.Conv3d(3, 4, 3).to(memory_format=torch.channels_last_3d)
    save_weights(tmp_path / "w.safetensors", conv.state_dict())
    other = nn.Conv3d(3, 4, 3)
    load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(other.weight, conv.weight)


@pytest.mark.parametrize(
    ("net", "counts"),
    [
        (
            nn.Linear(3, 2, bias=False),
            r"0 tensors missing, 1 unexpected, 0 .*\(first: bias\)",
        ),
        (nn.Linear(4, 2), r"0 tensors missing, 0 unexpected, 1 .*\(first: weight\)"),
        (nn.Sequential(nn.Linear(3, 2)), r"2 tensors missing, 2 unexpected, 0 .*\(first: 0.bias\)"),
    ],
)
def test_weights_of_another_architecture_are_refused_with_counts_and_an_example(
    tmp_path, net, counts
):
    save_weights(tmp_path / "w.safetensors", nn.Linear(3, 2).state_dict())
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(InputError, match=f"are of another architecture: {counts}"):
        load_weights(net, tmp_path / "w.safetensors")
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"not safetensors")
    for name in ("w.safetensors", "absent"):
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            load_weights(nn.Linear(3, 2), tmp_path / name)


def test_the_log_is_on_disk_before_a_checkpoint_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        checkpoint_module, "sync", lambda path: synced.append((path.name, _names(tmp_path / "c")))
    )
    (tmp_path / "metrics.jsonl").write_text("{}")
    _save_all(tmp_path / "c", (3,), log=tmp_path / "metrics.jsonl")
    assert ("metrics.jsonl", ["step-3.tmp"]) in synced
    _save_all(tmp_path / "d", (3,), log=tmp_path / "absent")


def test_a_checkpoint_under_the_name_of_another_step_is_damaged(tmp_path):
    _save_all(tmp_path, (3,)).path.joinpath("step-3").rename(tmp_path / "step-4")
    assert find_damage(tmp_path / "step-4") == "it is of step 3"


def test_a_file_that_a_checkpoint_does_not_name_is_damage(tmp_path):
    path = _save_all(tmp_path, (3,)).path / "step-3"
    assert find_damage(path) is None
    (path / "average.safetensors").write_bytes(b"")
    assert find_damage(path) == "average.safetensors does not belong to it"


@pytest.mark.parametrize(
    ("text", "damage"),
    [
        ("{}\n", "manifest.json does not name model.safetensors"),
        ("[]\n", "'list' object has no attribute 'keys'"),
        ('{"state.json": "0"}', "manifest.json is not as it was written"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_a_manifest_that_says_something_else_is_damage(tmp_path, text, damage):
    _save_all(tmp_path, (3,))
    (tmp_path / "step-3" / "manifest.json").write_text(text)
    assert find_damage(tmp_path / "step-3").startswith(damage)
