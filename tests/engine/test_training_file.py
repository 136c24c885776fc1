import pytest

from videokd.engine.training_file import read_training_file, write_training_file
from videokd.utils.errors import InputError

INPUTS = {"SEED": 0, "DATA": {"CROP_SIZE": 48, "NUM_FRAMES": 8}, "trained_on": ["UCF"]}


def test_a_folder_without_a_stage_was_not_begun(tmp_path):
    stage = read_training_file(tmp_path / "absent", INPUTS)
    assert stage == {"inputs": INPUTS, "is_finished": False, "seconds": 0.0, "calls": []}
    assert not (tmp_path / "absent").exists()


def test_a_stage_comes_back_as_it_was_written(tmp_path):
    stage = {"inputs": INPUTS, "is_finished": True, "seconds": 1.5, "num_steps": 7}
    write_training_file(tmp_path, stage)
    assert read_training_file(tmp_path, INPUTS) == stage


def test_a_stage_of_other_inputs_is_refused_with_what_differs(tmp_path):
    write_training_file(tmp_path, read_training_file(tmp_path, INPUTS))
    other = {**INPUTS, "SEED": 1, "DATA": {"CROP_SIZE": 56, "NUM_FRAMES": 8}}
    message = (
        r"holds a training of another config or other data \(SEED was 0, is 1; DATA.CROP_SIZE was "
        r"48, is 56\); choose another OUTPUT_DIR or delete that folder"
    )
    with pytest.raises(InputError, match=message):
        read_training_file(tmp_path, other)


def test_many_differences_are_counted(tmp_path):
    write_training_file(tmp_path, read_training_file(tmp_path, {}))
    with pytest.raises(InputError, match=r"c was None, is 2, and 2 more\)"):
        read_training_file(tmp_path, {name: i for i, name in enumerate("abcde")})


@pytest.mark.parametrize("text", ["{}", "[1]", '{"inputs": {'])
def test_a_stage_that_cannot_be_understood_is_refused(tmp_path, text):
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(InputError, match=r"training\.json is not of this version; delete"):
        read_training_file(tmp_path, INPUTS)
