import re

import pytest
import torch
from safetensors.torch import save_file

from videokd.utils.class_names import (
    ONLY_HEAD,
    class_names_to_metadata,
    match_rows,
    order_rows,
    read_class_names,
)
from videokd.utils.errors import InputError
from videokd.utils.io import write_json

STATE = {"heads.UCF.weight": torch.tensor([[0.0], [1.0], [2.0]]), "backbone": torch.ones(1)}


@pytest.mark.parametrize(
    ("found", "wanted", "rows"),
    [
        (["a", "b", "c"], ["a", "b", "c"], [0, 1, 2]),
        (["a", "b", "c"], ["c", "a", "b"], [2, 0, 1]),
        (["Push Ups", "jump"], ["jump", "push_ups"], [1, 0]),
        (["a", "A"], ["A", "a"], [1, 0]),  # spelling counts where it alone tells classes apart
        (["a", "A"], ["a", "b"], None),
        (["a", "b"], ["a", "c"], None),
        (["a", "b"], ["a"], None),
        (["c++", "b"], ["c", "b"], None),
    ],
)
def test_rows_are_matched_by_name(found, wanted, rows):
    assert match_rows(found, wanted) == rows


def test_rows_of_a_classifier_move_and_nothing_else_does(tmp_path):
    names = {"heads.UCF": ["a", "b", "c"]}
    state, moved = order_rows(STATE, names, {"heads.UCF": ["c", "a", "b"]}, origin=tmp_path)
    assert moved == ("heads.UCF",)
    assert state["heads.UCF.weight"].flatten().tolist() == [2.0, 0.0, 1.0]
    assert state["backbone"] is STATE["backbone"]
    assert order_rows(STATE, names, names, origin=tmp_path) == (STATE, ())


def test_other_classes_are_refused_in_two_lines(tmp_path):
    names = {"heads.UCF": ["a", "b", "c"]}
    message = (
        r"^weights \S+ \(heads.UCF\) were trained on other classes than the dataset's: 1 of the "
        r"file's 3 classes \('c'\) not in the dataset, which has 'd' instead\n[^\n]+$"
    )
    with pytest.raises(InputError, match=message):
        order_rows(STATE, names, {"heads.UCF": ["a", "b", "d"]}, origin=tmp_path / "w")
    with pytest.raises(InputError, match="the file has 3 classes, the dataset has 2"):
        order_rows(STATE, names, {"heads.UCF": ["a", "b"]}, origin=tmp_path / "w")


def test_names_are_found_in_the_file_in_the_training_or_beside_it(tmp_path):
    path = tmp_path / "w.safetensors"
    names = {"heads.UCF": ("a", "b", "c")}
    save_file(STATE, path)
    assert read_class_names(path) == {}
    (tmp_path / "labels.txt").write_text("x\r\ny\r\nz\r\n\r\n")
    assert read_class_names(path) == {ONLY_HEAD: ("x", "y", "z")}
    save_file(STATE, path, metadata=class_names_to_metadata(names))
    assert read_class_names(path) == names
    checkpoint = tmp_path / "training" / "checkpoints" / "step-2" / "model.safetensors"
    checkpoint.parent.mkdir(parents=True)
    save_file(STATE, checkpoint)
    assert read_class_names(checkpoint) == {}
    write_json(tmp_path / "training" / "training.json", {"class_names": names})
    assert read_class_names(checkpoint) == names


def test_a_list_of_labels_that_is_no_text_is_named(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe")
    path = tmp_path / "w.pth"
    with pytest.raises(InputError, match=f"names of weights {re.escape(str(path))} cannot be read"):
        read_class_names(path)
