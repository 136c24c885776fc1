import os
import pickle
from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file

from videokd.models.weights.files import find_files, hash_files, read_files
from videokd.models.weights.source import identify_weights, read_weights
from videokd.utils.errors import InputError
from videokd.utils.io import sha256_file, write_json

STATE = {"a.weight": torch.tensor([[1.0, 2.0]]), "a.bias": torch.tensor([3.0])}


def _is_state(read):
    return read.keys() == STATE.keys() and all(torch.equal(read[k], v) for k, v in STATE.items())


def _save(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(content or STATE, path)
    else:
        torch.save(STATE if content is None else content, path)
    return path


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"epoch": 3, "model_state": STATE, "optimizer_state": {"state": {}}, "cfg": "A: 1\n"},
        {"meta": {"epoch": 3}, "state_dict": STATE},
        {"model": STATE, "args": Namespace(lr=1.0).__dict__},
        {"model_state_dict": STATE, "loss": 0.5},
        {"module": STATE},
        {"model": {"state_dict": STATE}},
        {**STATE, "epoch": 3},
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pyth"])
def test_a_state_dict_is_found_in_what_toolkits_wrap_it_in(tmp_path, content, suffix):
    assert _is_state(read_files(_save(tmp_path / f"weights{suffix}", content)))


@pytest.mark.parametrize(
    "name",
    [
        "weights.safetensors",
        "folder/model.safetensors",
        "folder/student.safetensors",
        "folder/student.pth",
        "folder/pytorch_model.bin",
    ],
)
def test_files_and_folders_of_one_model_are_read(tmp_path, name):
    path = _save(tmp_path / name)
    assert _is_state(read_files(path))
    if "/" in name:
        assert _is_state(read_files(path.parent))


def test_a_model_in_parts_is_read_as_one(tmp_path):
    for i, (name, value) in enumerate(STATE.items(), start=1):
        _save(tmp_path / f"model-0000{i}-of-00002.safetensors", {name: value})
    assert _is_state(read_files(tmp_path))


def test_of_a_training_that_was_cut_off_the_newest_whole_checkpoint_is_taken(tmp_path):
    for step in (9, 10, 11):
        folder = tmp_path / "checkpoints" / f"step-{step}"
        file = _save(folder / "model.safetensors")
        write_json(folder / "manifest.json", {file.name: sha256_file(file)})
    with file.open("ab") as damaged:
        damaged.write(b"x")
    whole = tmp_path / "checkpoints" / "step-10"
    assert find_files(tmp_path) == (whole / "model.safetensors",)
    average = _save(whole / "average.safetensors")
    hashes = {name: sha256_file(whole / name) for name in ("model.safetensors", average.name)}
    write_json(whole / "manifest.json", hashes)
    assert find_files(tmp_path) == (average,)


def test_the_folder_of_a_whole_run_is_refused_with_its_models(tmp_path):
    for name in ("experts/UCF", "students/UCF"):
        (tmp_path / name).mkdir(parents=True)
        write_json(tmp_path / name / "training.json", {})
    with pytest.raises(InputError, match=r"several models; name one of \S+/experts/UCF, \S+/stud"):
        find_files(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"optimizer": {"lr": 1.0}, "epoch": 2}, "hold no state dict; they hold optimizer, epoch"),
        ([1, 2], "hold no state dict; they hold list"),
        ({"model": {"lr": 1.0}}, "hold no state dict; they hold lr, known are model_state"),
    ],
)
def test_a_file_without_weights_is_refused_with_what_it_holds(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_files(_save(tmp_path / "a.pth", content))


def test_a_path_with_nothing_there_is_refused_with_what_can_be_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.pth do not exist; name a \.pyth, \.pth, \.pt or"):
        read_files(tmp_path / "a.pth")
    with pytest.raises(InputError, match="is a folder without weights; name a .pyth"):
        read_files(tmp_path)


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path, is_zip):
    bomb = {"state_dict": STATE, "meta": _Bomb(tmp_path / "ran")}
    torch.save(bomb, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(InputError, match=r"only code can rebuild \(\w+\.mkdir\), which is never"):
        read_files(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()


def test_a_bare_pickle_that_would_run_code_does_not(tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps(_Bomb(tmp_path / "ran")))
    with pytest.raises(InputError, match=r"weights \S+a\.pth .*(never run|are damaged)"):
        read_files(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()


def test_classes_of_other_packages_are_refused_like_code(tmp_path):
    path = _save(tmp_path / "a.pth", {"state_dict": STATE, "args": Namespace(lr=1.0)})
    with pytest.raises(InputError, match=r"rebuild \(argparse.Namespace\).*safetensors, or write"):
        read_files(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.97])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, name, part):
    path = _save(tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=r"weights \S+ are damaged, or no") as caught:
        read_files(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_pickle_of_the_old_kind_is_refused_in_one_line(tmp_path):
    path = tmp_path / "a.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for end in range(0, len(data) - 1, 37):
        path.write_bytes(data[:end])
        # Half the name of something harmless is the name of something unknown.
        with pytest.raises(InputError, match=r"weights \S+ (are damaged|hold objects)") as caught:
            read_files(path)
        assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path):
    broken = {**STATE, "a.bias": torch.tensor([float("nan")])}
    path = _save(tmp_path / "a.pth", broken)
    with pytest.raises(InputError, match="are not finite in a.bias"):
        read_weights(str(path))


def test_weights_are_told_apart_by_what_is_in_the_file(tmp_path):
    one, same = _save(tmp_path / "a.pth"), tmp_path / "b.pth"
    same.write_bytes(one.read_bytes())
    assert identify_weights(str(one)) == identify_weights(str(same)) == f"sha256:{hash_files(one)}"
    before = identify_weights(str(one))
    _save(one, {**STATE, "a.bias": torch.tensor([4.0])})
    os.utime(one, ns=(1, 1))
    assert identify_weights(str(one)) != before
